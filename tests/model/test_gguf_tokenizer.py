"""Tokenizers of GGUF files against the ``tokenizers`` package on the same vocabularies."""

import os
import random
from pathlib import Path

import numpy as np
import pytest
from model.made_gguf import llama_file, llama_tensors
from model.made_gguf_tokenizers import (
    BYTE,
    CONTROL,
    NORMAL,
    PUBLISHED,
    UNKNOWN,
    UNUSED,
    USER_DEFINED,
    WHOLE_WORDS,
    byte_level_keys,
    merged_by_hand,
    named,
    published,
    sentencepiece_keys,
)
from model.made_tokenizers import AWKWARD, BOS, CORPUS, byte_name, made

from glassesjax.errors import BadInput
from glassesjax.model import open_gguf
from glassesjax.model.gguf_header import map_file, read_header
from glassesjax.model.gguf_tokenizer import tokenizer_from_gguf
from glassesjax.model.prompts import family_prompt
from glassesjax.model.splitting import SPLITTINGS
from glassesjax.model.tokenizer import TextTokenizer, TokenNumbersOnly
from glassesjax.tasks.sequences import FAMILIES, run_family
from glassesjax.tasks.text import text_pieces

# Pieces on which the rules of splitting differ, and characters that are rare in texts.
PIECES = (
    "a", "the", "The", "THE", "XMLHttp",
    "don't", "I'LL", "'s", "word", "of ", " in",
    "\u041f\u0440", "1", "12", "1234", "3.14", "½", "²",
    "٣", "\u2163", "1,111", "x1y", " ", "  ", "        ", "\n",
    "\n\n", "\n\n\n", "\r\n", "\t", "\u00a0", "\u3000", " \n", "a\n/b", "é", "e\u0301",
    "ß", "ǅ",
    "\u0301", "\ufb01", "\uff41\uff22", "\u2126", "\u212a",
    "नमस्ते", "ไทย", "العربية", "漢字", "かな",
    "한국", "😀", "👩‍🚀",
    "\u060c", "\u06d4", "…", "。", "!", "...", "!?", ".\n", "//", "/*", "()",
    "{1: 'a'}", "$", "+=", "^", "~|`", "«x»",
    "—", "_a_", "#", "\u2581", "\u2581\u2581", "<0x41>",
    "\x00", "\x07", "\u200b", "\ufeff", "<bos>", "</s>", "<tool>",
)  # fmt: skip


def texts(count, seed=0):
    rng = random.Random(seed)
    drawn = ["".join(rng.choices(PIECES, k=rng.randint(1, 12))) for _ in range(count)]
    return [*AWKWARD, *CORPUS, *PIECES, *drawn]


def same_tokens(tokenizer, engine, count=300):
    for text in texts(count):
        expected = tuple(engine.encode(text, add_special_tokens=False).ids)
        assert tokenizer.encode(text)[len(tokenizer.opening) :] == expected, repr(text)


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_text_is_split_as_the_published_tokenizer_does(name):
    tokenizer = tokenizer_from_gguf(byte_level_keys(published(name), name))
    same_tokens(tokenizer, published(name))


def test_the_rule_whose_ranges_are_long_splits_by_hand():
    tokenizer = tokenizer_from_gguf(byte_level_keys(published("gpt-2"), "deepseek-llm"))
    split = lambda text: [
        text[start:stop]
        for _, (start, stop) in tokenizer.engine.pre_tokenizer.pre_tokenize_str(text)
    ]
    assert split(" Ünder Grüße") == [" Ü", "nder", " Gr", "üß", "e"]  # ASCII letters are signs, too
    assert split("ab\n\ncd 12") == ["ab", "\n", "\n", "cd", " ", "1", "2"]
    assert split("x, y!  ") == ["x", ",", " y", "!", "  "]
    assert split("漢字 かな") == ["漢字", " ", "かな"]
    assert split("éƻö") == ["é", "ƻ", "ö"]  # a letter without case is in no range


def test_every_rule_is_compared():
    assert PUBLISHED.keys() | {"deepseek-llm"} == SPLITTINGS.keys()
    assert {name for name, rule in SPLITTINGS.items() if rule.whole_words} == WHOLE_WORDS


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_long_text_may_be_read_in_pieces(name, monkeypatch):
    monkeypatch.setattr(text_pieces, "__defaults__", (40,))
    tokenizer = tokenizer_from_gguf(byte_level_keys(published(name), name))
    assert tokenizer.splits == (name not in ("bloom", "gpt3-finnish", "gpt-4o", "tekken"))
    rng = random.Random(1)
    words = [piece for piece in PIECES if piece not in ("<bos>", "</s>", "<tool>", "\n\n\n")]
    for _ in range(20):
        text = " of the ".join("".join(rng.choices(words, k=8)) for _ in range(10))
        assert tuple(tokenizer.stream(text)) == tokenizer.encode(text)


@pytest.mark.parametrize("kind", ["llama2", "gemma3"])
def test_scores_merge_as_the_published_merges_do(kind):
    tokenizer = tokenizer_from_gguf(sentencepiece_keys(kind))
    same_tokens(tokenizer, made(kind))
    assert (tokenizer.opening, tokenizer.eos, tokenizer.unknown) == ((BOS,), 2, 0)
    for text in AWKWARD:
        assert tuple(tokenizer.stream(text)) == tokenizer.encode(text)


def test_runs_of_spaces_that_users_define_are_merged_first():
    keys = sentencepiece_keys("gemma3")
    tokens = [*keys["tokenizer.ggml.tokens"], "  " * 2]
    types = [*keys["tokenizer.ggml.token_type"], USER_DEFINED]
    types[tokens.index("\u2581\u2581")] = USER_DEFINED
    tokens[tokens.index("\u2581\u2581")] = "  "
    scores = np.append(keys["tokenizer.ggml.scores"], -1000).astype(np.float32)
    keys |= named({"tokens": tokens, "token_type": types, "scores": scores})
    tokenizer = tokenizer_from_gguf(keys)
    names = lambda text: [tokenizer.token_text(token) for token in tokenizer.encode(text)[1:]]
    assert names("a  the   the") == ["a", "  ", "the", "  ", " the"]
    assert names("    the") == ["    ", "the"]


def drawn_vocabulary(rng, letters, count):
    """Tokens that are made by merging, each of a lower score than those it is made of."""
    tokens = list(letters)
    while len(tokens) < count:
        token = rng.choice(tokens) + rng.choice(tokens)
        if token not in tokens and len(token) < 8:
            tokens.append(token)
    return tokens


@pytest.mark.parametrize("seed", range(8))
def test_merging_is_that_of_the_definition(seed):
    rng = random.Random(seed)
    letters = "abcdef\u2581"[seed % 4 :]
    tokens = drawn_vocabulary(rng, letters, 60)
    numbers = rng.sample(range(len(tokens)), len(tokens))
    tokens_in_file = [tokens[number] for number in numbers]
    score_of = {token: -float(rank) for rank, token in enumerate(tokens)}
    keys = {
        "model": "llama",
        "tokens": ["<unk>", "<s>", "</s>", *tokens_in_file],
        "token_type": [UNKNOWN, CONTROL, CONTROL] + [NORMAL] * len(tokens),
        "scores": np.asarray([0, 0, 0, *map(score_of.get, tokens_in_file)], np.float32),
        "add_space_prefix": bool(seed % 2) and "\u2581" in letters,
    }
    tokenizer = tokenizer_from_gguf(named(keys))
    for _ in range(200):
        text = "".join(rng.choices(letters, k=rng.randint(1, 25))).replace("\u2581", " ")
        spaced = f" {text}" if keys["add_space_prefix"] else text
        by_hand = merged_by_hand(spaced.replace(" ", "\u2581"), score_of)
        names = [tokenizer.engine.id_to_token(token) for token in tokenizer.encode(text)[1:]]
        assert names == by_hand, text


def test_bytes_stand_for_letters_without_a_token():
    tokenizer = tokenizer_from_gguf(sentencepiece_keys("llama2"))
    assert [tokenizer.engine.id_to_token(t) for t in tokenizer.encode("ï")][2:] == [
        "<0xC3>",
        "<0xAF>",
    ]
    assert tokenizer.decode(tokenizer.encode("ï☃")[1:]) == " ï☃"


def test_letters_with_neither_token_nor_bytes_are_named():
    keys = sentencepiece_keys("llama2")
    tokens = [
        f"[PAD{at}]" if token == byte_name(0xC3) else token
        for at, token in enumerate(keys["tokenizer.ggml.tokens"])
    ]
    types = [
        UNUSED if token.startswith("[PAD") else kind
        for token, kind in zip(tokens, keys["tokenizer.ggml.token_type"], strict=True)
    ]
    keys |= named({"tokens": tokens, "token_type": types})
    with pytest.raises(BadInput, match="vocabulary can write, got 'ï'"):
        tokenizer_from_gguf(keys).encode("naïve")
    types[0], nothing = CONTROL, {"tokenizer.ggml.unknown_token_id": None}
    keys = {key: value for key, value in keys.items() if key not in nothing}
    with pytest.raises(
        BadInput, match=r"unknown letters, or one of each byte, got neither .*<0xC3>"
    ):
        tokenizer_from_gguf(keys)


def test_numbers_without_a_key_are_those_of_the_kind():
    keys = sentencepiece_keys("llama2")
    bare = {key: value for key, value in keys.items() if not key.endswith("_id")}
    tokenizer = tokenizer_from_gguf(bare)
    assert (tokenizer.opening, tokenizer.ends, tokenizer.unknown) == ((1,), {2}, 0)
    # Only where such a token is a mark: this one is a letter.
    types = [UNKNOWN, NORMAL, CONTROL, *keys["tokenizer.ggml.token_type"][3:]]
    other = tokenizer_from_gguf(bare | {"tokenizer.ggml.token_type": types})
    assert (other.opening, other.bos, other.ends) == ((), None, {2})


@pytest.mark.parametrize("name", ["llama-bpe", "tekken", "qwen2"])
def test_the_start_token_is_the_rules_where_the_file_does_not_say(name):
    keys = byte_level_keys(published(name), name, bos_token_id=BOS)
    begins = name != "qwen2"
    assert tokenizer_from_gguf(keys).opening == ((BOS,) if begins else ())
    for begins in (True, False):
        stated = tokenizer_from_gguf(keys | {"tokenizer.ggml.add_bos_token": begins})
        assert stated.opening == ((BOS,) if begins else ())
    keys.pop("tokenizer.ggml.bos_token_id")
    assert tokenizer_from_gguf(keys).opening == ()


def test_marks_of_phi_3_take_in_the_blanks_behind_them():
    keys = sentencepiece_keys("llama2")
    phi = tokenizer_from_gguf(keys | {"general.architecture": "phi3"})
    other = tokenizer_from_gguf(keys)
    assert phi.encode("</s> \n1") == phi.encode("</s>1") != other.encode("</s> \n1")
    assert phi.encode("<unk> 1") == other.encode("<unk> 1")


def test_rows_without_a_token_are_not_read_in_texts():
    keys = byte_level_keys(published("qwen2"), "qwen2")
    count = len(keys["tokenizer.ggml.tokens"])
    pad = f"[PAD{count}]"
    before = tokenizer_from_gguf(keys).encode(pad)
    for kind in (UNKNOWN, USER_DEFINED, UNUSED):
        tokens = [*keys["tokenizer.ggml.tokens"], pad]
        types = [*keys["tokenizer.ggml.token_type"], kind]
        more = tokenizer_from_gguf(keys | named({"tokens": tokens, "token_type": types}))
        assert more.encode(pad) == before
        assert more.token_text(count) == pad


SENTENCEPIECE_CHANGES = [
    ({"scores": None}, "scores"),
    ({"scores": np.full(342, np.nan, np.float32)}, "finite tokenizer.ggml.scores, got NaN"),
    ({"scores": np.zeros(3, np.float32)}, "got 3"),
    ({"token_type": [3] * 3}, "got 3"),
    ({"add_space_prefix": 1}, "add_space_prefix true or false, got 1"),
    ({"add_eos_token": True}, "add_eos_token false"),
    ({"ignore_merges": True}, "ignore_merges false"),
    ({"remove_extra_whitespaces": True}, "remove_extra_whitespaces false"),
    ({"precompiled_charsmap": np.zeros(3, np.uint8)}, "precompiled_charsmap"),
    ({"pre": 3}, "strings tokenizer.ggml.model and tokenizer.ggml.pre, got 3"),
    ({"unknown_token_id": 10**6}, "unknown_token_id from 0"),
]


@pytest.mark.parametrize(("change", "text"), SENTENCEPIECE_CHANGES, ids=str)
def test_what_would_be_read_otherwise_is_refused(change, text):
    keys = sentencepiece_keys("llama2")
    if isinstance(scores := change.get("scores"), np.ndarray) and len(scores) > 3:
        change = {"scores": np.full(len(keys["tokenizer.ggml.tokens"]), np.nan, np.float32)}
    keys = {k: v for k, v in (keys | named(change)).items() if v is not None}
    with pytest.raises(BadInput, match=text) as refusal:
        tokenizer_from_gguf(keys)
    assert "\n" not in str(refusal.value)


def test_a_byte_has_the_name_of_one():
    keys = sentencepiece_keys("llama2")
    types = list(keys["tokenizer.ggml.token_type"])
    types[-1] = BYTE
    with pytest.raises(BadInput, match="tokens of bytes as <0x41>"):
        tokenizer_from_gguf(keys | {"tokenizer.ggml.token_type": types})


NUMBERS_ONLY = [
    ({"model": "bert"}, "the kind 'bert' of"),
    ({"model": "t5", "precompiled_charsmap": np.zeros(3, np.uint8)}, "the kind 't5' of"),
    ({"model": "a\nb"}, r"the kind 'a\\nb' of"),
    ({"model": None}, "names no kind"),
    ({"pre": "chatglm-bpe"}, "rule 'chatglm-bpe' for"),
    ({"pre": "default"}, "does not name the rule"),
    ({"pre": None}, "does not name the rule"),
]


@pytest.mark.parametrize(("change", "reason"), NUMBERS_ONLY, ids=str)
def test_a_kind_that_is_not_known_opens_for_token_numbers(change, reason):
    keys = byte_level_keys(published("gpt-2"), "gpt-2", eos_token_id=2, eot_token_id=3)
    keys = {k: v for k, v in (keys | named(change)).items() if v is not None}
    tokenizer = tokenizer_from_gguf(keys)
    assert isinstance(tokenizer, TokenNumbersOnly)
    assert tokenizer.ends == {2, 3}
    with pytest.raises(
        BadInput, match=rf"\(.*{reason}.*\): use a verb with --prompt-tokens"
    ) as refusal:
        tokenizer.encode("a")
    assert "\n" not in str(refusal.value)


def test_a_list_of_tokens_that_end_a_text_is_read():
    keys = byte_level_keys(published("gpt-2"), "gpt-2", eos_token_id=2, eot_token_id=3)
    listed = keys | named({"eos_token_ids": np.asarray([2, 5, 3], np.int32)})
    assert tokenizer_from_gguf(listed).ends == {2, 3, 5}
    assert tokenizer_from_gguf(listed | named({"pre": "chatglm-bpe"})).ends == {2, 3, 5}
    for wrong in (np.asarray([2, -1], np.int32), np.asarray([2.0]), [2, "3"], True, "2"):
        with pytest.raises(BadInput, match=r"tokenizer\.ggml\.eos_token_ids from 0 below"):
            tokenizer_from_gguf(keys | named({"eos_token_ids": wrong}))


def test_a_key_that_is_not_known_is_refused_without_a_rule_as_well():
    keys = byte_level_keys(published("gpt-2"), "gpt-2")
    keys["tokenizer.ggml.prf"] = keys.pop("tokenizer.ggml.pre")
    with pytest.raises(BadInput, match=r"got tokenizer\.ggml\.prf = 'gpt-2'"):
        tokenizer_from_gguf(keys)


def test_scores_that_are_all_the_same_order_nothing():
    keys = sentencepiece_keys("llama2")
    same = np.full(len(keys["tokenizer.ggml.tokens"]), -1000, np.float32)
    tokenizer = tokenizer_from_gguf(keys | {"tokenizer.ggml.scores": same})
    assert isinstance(tokenizer, TokenNumbersOnly)
    assert "scores" in tokenizer.reason
    assert tokenizer.ends == {2}


@pytest.mark.parametrize("kind", ["llama2", "gemma3"])
def test_a_model_with_a_sentencepiece_tokenizer_opens_and_reads_families(tmp_path, kind):
    keys = sentencepiece_keys(kind)
    rows = len(keys["tokenizer.ggml.tokens"])
    keys["tokenizer.ggml.scores"] = keys["tokenizer.ggml.scores"].tolist()
    path = llama_file(tmp_path / "made.gguf", keys, tensors=llama_tensors(rows))
    tokenizer = open_gguf(path).tokenizer
    same_tokens(tokenizer, made(kind), count=20)
    assert tokenizer.start_name == "<bos>"
    for name in FAMILIES:
        family = run_family(name)
        shorter, longer = (
            family_prompt(tokenizer, family, side) for side in family.pair(3, seed=0)
        )
        assert len(shorter.tokens) < len(longer.tokens)
    keys.pop("tokenizer.ggml.model")
    numbers = open_gguf(
        llama_file(path, keys | {"tokenizer.ggml.model": None}, tensors=llama_tensors(rows))
    )
    assert isinstance(numbers.tokenizer, TokenNumbersOnly)


VOCABULARIES = os.environ.get("GLASSESJAX_VOCABULARIES")
"""A folder with ``ggml-vocab-*.gguf`` of llama.cpp, and the texts and tokens beside them."""


@pytest.mark.skipif(not VOCABULARIES, reason="no folder of published vocabularies is named")
def test_texts_have_the_tokens_of_published_tokenizers():
    gguf = pytest.importorskip("gguf")
    compared = 0
    for path in sorted(Path(VOCABULARIES or "").glob("ggml-vocab-*.gguf")):
        data = map_file(path)
        keys = read_header(data, path.name, gguf.GGML_QUANT_SIZES).metadata
        tokenizer = tokenizer_from_gguf(keys)
        beside = path.with_name(f"{path.name}.inp")
        if not isinstance(tokenizer, TextTokenizer) or not beside.exists():
            continue
        cases = beside.read_text(encoding="utf-8").split("\n__ggml_vocab_test__\n")
        lines = path.with_name(f"{path.name}.out").read_text().splitlines()
        for text, line in zip(cases, lines, strict=False):
            tokens = tokenizer.encode(text)[len(tokenizer.opening) :]
            assert tokens == tuple(map(int, line.split())), (path.name, text)
        compared += 1
    assert compared == 12
