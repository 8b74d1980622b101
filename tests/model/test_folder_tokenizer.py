"""The tokenizer of a folder, against the ``tokenizers`` package on its own file."""

import json
import os
import re
import time

import pytest
from model.made_tokenizers import AWKWARD, CONFIGS, KINDS, folder_of, made
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors

from glassesjax.errors import BadInput
from glassesjax.model.folder_tokenizer import open_tokenizer, tokenizer_from_folder
from glassesjax.model.prompts import family_prompt, numbered_prompt, start_length
from glassesjax.model.spelling import BYTES, spelled
from glassesjax.model.tokenizer import FIRST_READ, SymbolTokenizer, TokenNumbersOnly
from glassesjax.tasks.sequences import BOS, FAMILIES, SYMBOLS, repeats_last_token, run_family


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


@pytest.fixture
def tokenizer(tmp_path, kind):
    return tokenizer_from_folder(folder_of(tmp_path / kind, kind))


@pytest.mark.parametrize("text", AWKWARD)
def test_texts_have_the_tokens_of_the_package(tokenizer, kind, text):
    assert tokenizer.encode(text) == tuple(made(kind).encode(text).ids)
    assert tuple(tokenizer.stream(text)) == tokenizer.encode(text)


@pytest.mark.parametrize("text", AWKWARD)
def test_bytes_of_tokens_join_to_the_text(tokenizer, kind, text):
    tokens = tokenizer.encode(text)[len(tokenizer.opening) :]
    written = b"".join(map(tokenizer.token_bytes, tokens)).decode()
    # A mark of a space in a text is a space from then on, also for the package.
    as_read = text.replace("\u2581", " ") if tokenizer.spelling == "sentencepiece" else text
    if kind == "qwen3":
        as_read = made(kind).normalizer.normalize_str(text)
    if kind == "llama2":  # each part beside special tokens begins with a space
        parts = re.split("(<bos>|</s>)", as_read)
        as_read = "".join(
            f" {part}" if i % 2 == 0 and part else part for i, part in enumerate(parts)
        )
    assert written == as_read
    assert tokenizer.decode(tokens) == as_read


def test_bytes_of_each_token_are_those_of_the_packages_decoder(tokenizer, kind):
    engine = made(kind)
    for number in range(engine.get_vocab_size()):
        name = engine.id_to_token(number)
        # After another token: a decoder may strip the space before a whole text.
        after = engine.decoder.decode(["1", name])
        if number not in tokenizer.whole:
            assert f"1{tokenizer.token_bytes(number).decode('utf-8', 'replace')}" == after


def test_spelling_by_hand():
    assert spelled("Ġthe", "byte_level") == b" the"
    assert spelled("<0x0A>", "sentencepiece") == b"\n"
    assert spelled("\u2581the\u2581", "sentencepiece") == b" the "
    assert spelled("<0x0A>", "byte_level") == b"<0x0A>"
    assert spelled("\u2581the", "plain") == "\u2581the".encode()
    assert sorted(BYTES.values()) == list(range(256))


def test_a_user_defined_token_is_its_text(tmp_path):
    tool = tokenizer_from_folder(folder_of(tmp_path / "a", "llama3"))
    line = tokenizer_from_folder(folder_of(tmp_path / "b", "gemma3"))
    assert tool.token_bytes(tool.encode("a<tool>b")[-2]) == b"<tool>"
    assert line.token_bytes(line.encode("a\n\nb")[-2]) == b"\n\n"


# Of the text of three ones after the start: how many tokens, and whether symbols read so.
TEXTS = {"llama2": 4, "llama3": 1, "qwen3": 3, "gemma3": 3, "deepseek": 1}
STARTS = {name: "none" if name == "qwen3" else "<bos>" for name in KINDS}


def test_symbols_are_tokens_for_every_tokenizer(tokenizer, kind):
    for name in FAMILIES:
        family = run_family(name)
        shorter, longer = (
            family_prompt(tokenizer, family, prompt) for prompt in family.pair(3, seed=0)
        )
        if family.text:
            continue
        symbols = [symbol for symbol in family.pair(3, seed=0)[1] if symbol != BOS]
        texts = [tokenizer.token_text(token) for token in longer.tokens[-len(symbols) :]]
        assert texts == symbols
        assert repeats_last_token(shorter.tokens, longer.tokens) == repeats_last_token(
            *family.pair(3, seed=0)
        )
        assert (longer.characters, longer.text_tokens) == (len(symbols), len(symbols))
    ones = family_prompt(tokenizer, run_family("ones"), ("1",) * 3)
    assert ones.text_round_trips == (TEXTS[kind] == 3)


def test_the_text_of_ones_is_split_as_the_tokenizer_does(tokenizer, kind):
    family = run_family("ones_text")
    sides = [family_prompt(tokenizer, family, side) for side in family.pair(3, seed=0)]
    assert [side.tokens for side in sides] == [tokenizer.encode("111"), tokenizer.encode("1111")]
    assert (sides[0].text_tokens, sides[0].characters) == (TEXTS[kind], 3)
    merged = TEXTS[kind] == 1  # 111 against 111 1
    assert repeats_last_token(*(side.tokens for side in sides)) == (not merged)


def test_the_start_is_named(tokenizer, kind):
    assert tokenizer.start_name == STARTS[kind]
    assert start_length(tokenizer) == (STARTS[kind] != "none")
    bos = family_prompt(tokenizer, run_family("ones_bos"), (BOS, "1"))
    assert bos.tokens == (*tokenizer.start, *tokenizer.encode_symbols("1"))


def test_a_tokenizer_of_symbols_reads_a_text_after_its_start():
    toy = SymbolTokenizer(SYMBOLS)
    text = family_prompt(toy, run_family("ones_text"), ("1", "1"))
    assert text == (toy.encode_symbols((BOS, "1", "1")), True, 2, 2)


def test_a_long_text_is_read_from_its_start(tokenizer):
    text = "the word 111, was\n" * (3 * FIRST_READ // 18)
    stream = tokenizer.stream(text)
    first = [next(stream) for _ in range(10)]
    assert tuple(first) == tokenizer.encode(text)[:10]
    assert (*first, *stream) == tokenizer.encode(text)


def test_more_tokens_than_rows_are_refused_by_name(tmp_path):
    folder = folder_of(tmp_path / "gemma3", "gemma3")
    count = made("gemma3").get_vocab_size()
    few = open_tokenizer(folder, count - 1)
    assert few.without_row() == ("\n\n",)
    assert few.encode("the word") == tuple(made("gemma3").encode("the word").ids)
    with pytest.raises(BadInput, match=rf"below {count - 1}, .*got {count - 1} \('\\n\\n'\)"):
        few.encode("a\n\nb")
    with pytest.raises(BadInput, match="'<bos>'"):
        open_tokenizer(folder, 1)


def test_rows_without_a_token_have_a_number_for_a_name(tmp_path):
    folder = folder_of(tmp_path / "qwen3", "qwen3")
    count = made("qwen3").get_vocab_size()
    padded = open_tokenizer(folder, count + 2)
    assert padded.without_row() == ()
    assert padded.token_text(count) == f"[{count}]"
    assert padded.decode([count + 1]) == f"[{count + 1}]"
    with pytest.raises(ValueError, match="no such token"):
        padded.token_text(count + 2)


def test_ends_and_template_come_from_the_files_beside(tmp_path):
    turns = "{{ bos_token }}{% for m in messages %}{{ m['content'] }}</s>{% endfor %}"
    default = [{"name": "tool_use", "template": "x"}, {"name": "default", "template": turns}]
    folder = folder_of(tmp_path / "llama2", "llama2", chat_template=default)
    assert tokenizer_from_folder(folder).ends == {2}
    (folder / "config.json").write_text('{"text_config": {"eos_token_id": 7}}')
    assert tokenizer_from_folder(folder).ends == {2, 7}
    (folder / "generation_config.json").write_text('{"eos_token_id": [2, 9]}')
    tokenizer = tokenizer_from_folder(folder)
    assert tokenizer.ends == {2, 9}
    chat = tokenizer.encode_chat([{"role": "user", "content": "the"}])
    assert chat == tuple(made("llama2").encode("<bos>the</s>", add_special_tokens=False).ids)
    (folder / "chat_template.jinja").write_text("word")
    other = tokenizer_from_folder(folder).encode_chat([{"role": "user", "content": "the"}])
    assert other == tuple(made("llama2").encode("word", add_special_tokens=False).ids)


def test_old_files_name_special_tokens_as_well(tmp_path):
    folder = folder_of(tmp_path / "llama2", "llama2")
    (folder / "tokenizer_config.json").unlink()
    assert tokenizer_from_folder(folder).bos is None
    (folder / "special_tokens_map.json").write_text(json.dumps(CONFIGS["gemma3"]))
    assert tokenizer_from_folder(folder).bos == 1


def test_tokens_that_only_the_configuration_lists_are_added(tmp_path):
    count = made("qwen3").get_vocab_size()
    listed = {str(count): {"content": "<new>", "special": True}, "2": {"content": "</s>"}}
    folder = folder_of(tmp_path / "a", "qwen3", added_tokens_decoder=listed)
    assert tokenizer_from_folder(folder).encode("a<new>")[-1] == count
    wrong = {str(count + 5): {"content": "<new>"}}
    with pytest.raises(BadInput, match="added tokens under their numbers"):
        tokenizer_from_folder(folder_of(tmp_path / "b", "qwen3", added_tokens_decoder=wrong))


def test_an_added_token_keeps_its_flags_where_the_configuration_names_it(tmp_path):
    folder = folder_of(
        tmp_path / "qwen3", "qwen3", eos_token="<new>", pad_token={"content": "</s>"}
    )
    engine = Tokenizer.from_file(str(folder / "tokenizer.json"))
    engine.add_tokens([AddedToken("<new>", lstrip=True), AddedToken("</s>", rstrip=True)])
    engine.save(str(folder / "tokenizer.json"))
    text = "a word  <new> a </s>  word"
    plain = tuple(made("qwen3").encode(text).ids)
    assert tokenizer_from_folder(folder).encode(text) == tuple(engine.encode(text).ids) != plain


def test_an_added_token_without_a_letter_is_none(tmp_path):
    path = folder_of(tmp_path / "qwen3", "qwen3")
    count = made("qwen3").get_vocab_size()
    added = {str(count): {"content": "", "special": True}, "1": {"content": "<bos>"}}
    (path / "tokenizer_config.json").write_text(json.dumps({"added_tokens_decoder": added}))
    tokenizer = tokenizer_from_folder(path)
    assert tokenizer.engine.get_vocab_size() == count
    assert tokenizer.encode("a word") == tuple(made("qwen3").encode("a word").ids)


def test_thousands_of_added_tokens_take_no_time(tmp_path):
    """One call of the package for each token takes over 10 s for these 8,000."""
    count, many = made("qwen3").get_vocab_size(), 8000
    listed = {str(count + n): {"content": f"<{n}>", "special": True} for n in range(many)}
    start = time.process_time()
    tokenizer = tokenizer_from_folder(folder_of(tmp_path, "qwen3", added_tokens_decoder=listed))
    assert time.process_time() - start < 3
    assert tokenizer.encode("<7><7999>") == (count + 7, count + many - 1)


def test_neither_truncation_nor_padding_of_the_file_counts(tmp_path):
    folder = folder_of(tmp_path / "llama2", "llama2")
    engine = Tokenizer.from_file(str(folder / "tokenizer.json"))
    engine.enable_truncation(2)
    engine.enable_padding(length=50)
    engine.save(str(folder / "tokenizer.json"))
    assert tokenizer_from_folder(folder).encode("the word") == tuple(
        made("llama2").encode("the word").ids
    )


def test_a_letter_that_the_vocabulary_lacks_is_named(tmp_path):
    known = Tokenizer(models.WordLevel({"<unk>": 0, "the": 1, "1": 2}, unk_token="<unk>"))
    known.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    known.add_special_tokens(["<unk>"])
    known.save(str(tmp_path / "tokenizer.json"))
    tokenizer = tokenizer_from_folder(tmp_path)
    assert tokenizer.encode("the 1 <unk>") == (1, 2, 0)
    with pytest.raises(BadInput, match="got 'word'"):
        tokenizer.encode("the word")
    with pytest.raises(BadInput, match="a token for ',', got one without"):
        tokenizer.encode_symbols("1,")


def test_a_byte_that_the_vocabulary_lacks_is_named(tmp_path):
    letters = {name: number for number, name in enumerate("abĠ")}
    known = Tokenizer(models.BPE(vocab=letters, merges=[]))
    known.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    known.decoder = decoders.ByteLevel()
    known.save(str(tmp_path / "tokenizer.json"))
    assert tokenizer_from_folder(tmp_path).encode("a b") == (0, 2, 1)
    with pytest.raises(BadInput, match="got 'c'"):
        tokenizer_from_folder(tmp_path).encode("abc")


def _engine_in(folder, model, decoder=None, pre_tokenizer=None):
    engine = Tokenizer(model)
    if pre_tokenizer is not None:
        engine.pre_tokenizer = pre_tokenizer
    if decoder is not None:
        engine.decoder = decoder
    folder.mkdir(exist_ok=True)
    engine.save(str(folder / "tokenizer.json"))
    return tokenizer_from_folder(folder)


PIECES = [("<unk>", 0.0), ("\u2581", -1.0), ("a", -2.0), ("b", -2.0)]
LETTERS = {"\u2581": 0, "a": 1, "b": 2}
METASPACE = {"decoder": decoders.Metaspace(), "pre_tokenizer": pre_tokenizers.Metaspace()}


@pytest.mark.parametrize(
    ("model", "parts", "numbers"),
    [
        (models.Unigram(PIECES, unk_id=0), METASPACE, (1, 2, 3)),
        (models.Unigram(PIECES), METASPACE, (1, 2, 3)),
        (models.BPE(vocab=LETTERS, merges=[]), METASPACE, (0, 1, 2)),
        (models.BPE(vocab=LETTERS, merges=[]), {}, (1, 2)),
        (models.BPE(vocab=LETTERS | {"ab": 3}, merges=[("a", "b")]), {}, (3,)),
        (models.BPE(vocab=LETTERS, merges=[], byte_fallback=True), {}, (1, 2)),
        (models.BPE(vocab=LETTERS, merges=[], unk_token="<none>"), {}, (1, 2)),
        (models.WordLevel({"ab": 1, "b": 0}, unk_token="<none>"), {}, (1,)),
    ],
    ids=[
        "unigram",
        "no unknown",
        "metaspace",
        "plain",
        "merged",
        "fallback",
        "unknown absent",
        "words",
    ],
)
def test_a_lost_letter_is_named_for_every_kind_of_model(tmp_path, model, parts, numbers):
    tokenizer = _engine_in(tmp_path, model, **parts)
    assert tokenizer.encode("ab") == numbers
    with pytest.raises(BadInput, match=r"vocabulary can write, got '[abZ]*Z"):
        tokenizer.encode("abZab")


def test_special_tokens_that_only_the_configuration_names_are_read_whole(tmp_path):
    count = made("qwen3").get_vocab_size()
    config = {"pad_token": "<pad>", "image_token": "<img>", "additional_special_tokens": ["word"]}
    tokenizer = tokenizer_from_folder(folder_of(tmp_path / "new", "qwen3", **config))
    # The order of transformers: named, others that are named, the list.
    assert tokenizer.encode("<pad><img>") == (count, count + 1)
    word = made("qwen3").token_to_id("word")
    assert tokenizer.encode("word") == (count + 2 if word is None else word,)
    extra = {"extra_special_tokens": ["word"], "additional_special_tokens": ["<other>"]}
    tokenizer = tokenizer_from_folder(folder_of(tmp_path / "extra", "qwen3", **extra))
    assert tokenizer.engine.token_to_id("<other>") is None
    twice = {
        "bos_token": "<x>",
        "eos_token": "<y>",
        "pad_token": {"content": "<x>", "lstrip": True},
    }
    tokenizer = tokenizer_from_folder(folder_of(tmp_path / "twice", "qwen3", **twice))
    assert tokenizer.encode("<x><y>") == (count, count + 1)
    assert len(tokenizer.encode("a <x>")) == 3  # of two entries the first counts, without lstrip
    for name in ("special_tokens_map.json", "added_tokens.json"):
        folder = folder_of(tmp_path / name, "qwen3")
        listed = {"cls_token": "<x>"} if name.startswith("special") else {"<x>": count}
        (folder / name).write_text(json.dumps(listed))
        assert tokenizer_from_folder(folder).encode("<x>") == (count,)


@pytest.mark.parametrize(
    ("kind", "config", "text"),
    [
        ("qwen3", {"split_special_tokens": True}, "split_special_tokens false"),
        ("qwen3", {"fix_mistral_regex": True}, "fix_mistral_regex false"),
        ("qwen3", {"add_prefix_space": True, "tokenizer_class": "GPT2Tokenizer"}, "does not begin"),
        ("qwen3", {"add_prefix_space": True, "tokenizer_class": "Qwen2TokenizerFast"}, "as token"),
        ("qwen3", {"add_prefix_space": True, "tokenizer_class": "GPTNeoXTokenizer"}, "as token"),
        ("llama2", {"add_prefix_space": False, "tokenizer_class": "LlamaTokenizer"}, "begins a"),
        (
            "qwen3",
            {"do_lower_case": True, "tokenizer_class": "AlbertTokenizer"},
            "lower_case false",
        ),
    ],
)
def test_keys_that_change_tokens_are_refused_by_name(tmp_path, kind, config, text):
    with pytest.raises(BadInput, match=text):
        tokenizer_from_folder(folder_of(tmp_path / kind, kind, **config))


@pytest.mark.parametrize(
    ("kind", "config"),
    [
        ("qwen3", {"split_special_tokens": False, "unsloth_version": "1", "errors": "replace"}),
        ("qwen3", {"add_prefix_space": False, "tokenizer_class": "Qwen2Tokenizer"}),
        ("qwen3", {"add_prefix_space": True, "tokenizer_class": "PreTrainedTokenizerFast"}),
        ("deepseek", {"add_prefix_space": True, "tokenizer_class": "LlamaTokenizerFast"}),
        (
            "llama2",
            {"add_prefix_space": None, "legacy": False, "tokenizer_class": "LlamaTokenizer"},
        ),
        ("llama2", {"do_lower_case": True, "tokenizer_class": "LlamaTokenizer"}),
    ],
)
def test_keys_without_effect_are_not_refused(tmp_path, kind, config):
    tokenizer = tokenizer_from_folder(folder_of(tmp_path / kind, kind, **config))
    assert tokenizer.encode("the word") == tuple(made(kind).encode("the word").ids)


LINKED = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
    "generation_config.json", "config.json", "chat_template.jinja",
)  # fmt: skip


@pytest.mark.parametrize("name", LINKED)
def test_a_link_that_leads_nowhere_is_not_a_missing_file(tmp_path, name):
    folder = folder_of(tmp_path / "llama2", "llama2")
    if name == "added_tokens.json":
        (folder / "tokenizer_config.json").unlink()
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to(folder / "gone")
    with pytest.raises(BadInput, match=f"{name}, got a link that leads nowhere"):
        open_tokenizer(folder, rows=1000)


def test_half_a_surrogate_pair_is_one_line(tmp_path):
    for config in ({"bos_token": "\ud800"}, {"chat_template": "\udcff"}):
        with pytest.raises(BadInput, match=r"tokenizer_config.json.*no UTF-8, with '\\ud"):
            tokenizer_from_folder(folder_of(tmp_path / "llama2", "llama2", **config))


def test_a_digit_that_is_a_byte_only_is_that_byte(tmp_path):
    names = {"<unk>": 0, "<0x31>": 1, "<0x32>": 2, "2": 3}
    known = Tokenizer(models.BPE(vocab=names, merges=[], unk_token="<unk>", byte_fallback=True))
    known.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    known.save(str(tmp_path / "tokenizer.json"))
    assert tokenizer_from_folder(tmp_path).encode_symbols("12") == (1, 3)


def _ends_texts(engine):
    engine.post_processor = processors.TemplateProcessing(
        single="<bos> $A </s>", special_tokens=[("<bos>", 1), ("</s>", 2)]
    )


def _replaces(engine):
    engine.decoder = decoders.Sequence([decoders.Replace("x", "y"), decoders.Fuse()])


def _word_pieces(engine):
    engine.decoder = decoders.WordPiece()


def _by_chance(engine):
    engine.model.dropout = 0.5


def _marks_ends(engine):
    engine.model.end_of_word_suffix = "</w>"


def _names_none(engine):
    named = processors.TemplateProcessing(single="<new> $A", special_tokens=[("<new>", 99_999)])
    engine.post_processor = named


def _names_another(engine):
    named = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 2)])
    engine.post_processor = named


def _separates(engine):
    engine.post_processor = processors.BertProcessing(("</s>", 2), ("<bos>", 1))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (_ends_texts, "adds tokens before a text only"),
        (_replaces, "one that replaces"),
        (_word_pieces, "'WordPiece'"),
        (_by_chance, "dropout 0.5"),
        (_marks_ends, "no end_of_word_suffix"),
        (_names_none, "'<new>', which is no token"),
        (_names_another, "'<bos>' before a text as token 1 in .*, got 2"),
        (_separates, "'BertProcessing'"),
    ],
)
def test_what_is_not_supported_is_refused_by_name(tmp_path, change, text):
    folder = folder_of(tmp_path / "llama2", "llama2")
    engine = Tokenizer.from_file(str(folder / "tokenizer.json"))
    change(engine)
    engine.save(str(folder / "tokenizer.json"))
    with pytest.raises(BadInput, match=text) as refusal:
        tokenizer_from_folder(folder)
    assert "\n" not in str(refusal.value)


DAMAGED = {
    "empty": b"",
    "no JSON": b"{]",
    "cut": b'{"version": "1.0", "model": {"type": "BPE", "vocab": {"a": 0',
    "another object": b"{}",
    "a list": b"[1, 2]",
    "other bytes": bytes(range(256)),
    "deep": b"[" * 100_000,
    "merge outside": b'{"model": {"type": "BPE", "vocab": {"a": 0}, "merges": ["b c"]}}',
    "prefix": b'{"model": {"type": "BPE", "continuing_subword_prefix": "x", "vocab": {"a": 0}}}',
    "huge number": b'{"model": {"type": "BPE", "vocab": {"a": 1e99}, "merges": []}}',
}


@pytest.mark.parametrize("damaged", [{"ids": [1, 2]}, {"tokens": ["<bos>", "</s>"]}, {"ids": []}])
def test_numbers_before_a_text_that_are_not_its_tokens_are_refused(damaged, tmp_path):
    folder = folder_of(tmp_path / "llama2", "llama2")
    content = json.loads((folder / "tokenizer.json").read_text())
    content["post_processor"]["special_tokens"]["<bos>"] |= damaged
    (folder / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(BadInput, match=r"before a text|which is no token") as refusal:
        tokenizer_from_folder(folder)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
@pytest.mark.parametrize(
    "name", ["tokenizer.json", "tokenizer_config.json", "generation_config.json"]
)
def test_a_damaged_file_is_one_line(tmp_path, name, content):
    folder = folder_of(tmp_path / "llama2", "llama2")
    (folder / name).write_bytes(content)
    if name != "tokenizer.json" and content.startswith(b"{") and content.endswith(b"}"):
        tokenizer_from_folder(folder)
        return
    with pytest.raises(BadInput, match=name) as refusal:
        tokenizer_from_folder(folder)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("generation_config.json", '{"eos_token_id": "2"}', "eos_token_id as a number"),
        ("generation_config.json", '{"eos_token_id": [true]}', "eos_token_id as a number"),
        ("tokenizer_config.json", '{"chat_template": 3}', "a string chat_template"),
        ("tokenizer_config.json", '{"extra_special_tokens": 3}', "a list of special tokens"),
        ("special_tokens_map.json", '{"extra_special_tokens": 3}', "a list of special tokens"),
        ("tokenizer_config.json", '{"added_tokens_decoder": 3}', "added_tokens_decoder as an"),
        ("tokenizer_config.json", '{"added_tokens_decoder": {"1": 3}}', "tokens with a content"),
    ],
)
def test_wrong_values_beside_it_are_named(tmp_path, name, content, text):
    folder = folder_of(tmp_path / "llama2", "llama2")
    (folder / name).write_text(content)
    with pytest.raises(BadInput, match=f"{text}.* in .*{name}"):
        tokenizer_from_folder(folder)


@pytest.mark.parametrize(
    "name",
    ["tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "config.json"],
)
def test_a_key_that_is_there_twice_is_named(tmp_path, name):
    folder = folder_of(tmp_path / "llama2", "llama2")
    if name == "added_tokens.json":
        (folder / "tokenizer_config.json").unlink()
    (folder / name).write_text('{"eos_token": "<bos>", "eos_token": "</s>"}')
    with pytest.raises(BadInput, match=f"{name}, got .*the key 'eos_token' twice") as refusal:
        tokenizer_from_folder(folder)
    assert "\n" not in str(refusal.value)


def test_a_panic_of_the_library_is_one_line(tmp_path, capfd):
    folder = folder_of(tmp_path / "llama2", "llama2")
    content = json.loads((folder / "tokenizer.json").read_text())
    content["model"]["merges"][2] = ["\u2581", "<a longer token than any>"]
    (folder / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(BadInput, match="an undamaged tokenizer"):
        tokenizer_from_folder(folder)
    os.write(2, b"after")
    assert capfd.readouterr().err == "after"


def test_a_folder_in_place_of_a_file_is_named(tmp_path):
    (tmp_path / "tokenizer.json").mkdir()
    with pytest.raises(BadInput, match="Expected a file in"):
        tokenizer_from_folder(tmp_path)


def test_without_a_tokenizer_there_are_token_numbers_only(tmp_path):
    assert tokenizer_from_folder(tmp_path) is None
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": [2, 90]}')
    numbers = open_tokenizer(tmp_path, rows=50)
    assert isinstance(numbers, TokenNumbersOnly)
    assert numbers.ends == {2}
    assert numbers.token_text(7) == "[7]"
    assert numbers.token_bytes(7) == b"[7]"
    chat = lambda text: numbers.encode_chat([{"role": "user", "content": text}])
    for read in (numbers.encode, numbers.stream, numbers.encode_symbols, chat):
        with pytest.raises(BadInput, match=r"no tokenizer.json\): use a verb with --prompt-tokens"):
            read("1")
    with pytest.raises(BadInput, match="for digits, got one for token numbers only"):
        family_prompt(numbers, run_family("ones"), ("1",))


def test_numbers_of_a_prompt_are_checked():
    assert numbered_prompt((3, 3, 0), 4) == (3, 3, 0)
    for wrong in (4, -1):
        with pytest.raises(BadInput, match=f"from 0 to 3, .*got {wrong}"):
            numbered_prompt((1, wrong), 4)
