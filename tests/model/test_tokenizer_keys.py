"""Keys of a tokenizer's files: each is known, or refused by its name."""

import inspect
import json

import pytest
from model.made_tokenizers import AWKWARD, KINDS, folder_of, made
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from glassesjax.errors import BadInput
from glassesjax.model.folder_tokenizer import tokenizer_from_folder
from glassesjax.model.tokenizer_keys import (
    DECODERS,
    MODELS,
    NORMALIZERS,
    POST_PROCESSORS,
    PRE_TOKENIZERS,
    READ,
    SWITCHES,
)

# What classes need to be made.
GIVEN = {
    "Prepend": ("x",),
    "Replace": ("a", "b"),
    "CharDelimiterSplit": ("x",),
    "Split": (Regex("a"), "isolated"),
    "FixedLength": (),
    "BertProcessing": (("a", 1), ("b", 2)),
    "RobertaProcessing": (("a", 1), ("b", 2)),
    "Sequence": ([],),
}
MODULES = [
    (normalizers, normalizers.Normalizer, NORMALIZERS),
    (pre_tokenizers, pre_tokenizers.PreTokenizer, PRE_TOKENIZERS),
    (processors, processors.PostProcessor, POST_PROCESSORS),
    (decoders, decoders.Decoder, DECODERS),
    (models, models.Model, MODELS),
]


def kinds_of(module, base):
    return [
        kind
        for _, kind in inspect.getmembers(module, inspect.isclass)
        if issubclass(kind, base) and kind is not base and kind.__name__ != "Precompiled"
    ]


@pytest.mark.parametrize(("module", "base", "known"), MODULES, ids=lambda each: str(each)[:40])
def test_every_part_that_the_package_writes_has_known_keys(module, base, known):
    for kind in kinds_of(module, base):
        whole = Tokenizer(models.BPE())
        part = kind(*GIVEN.get(kind.__name__, ()))
        name = {models: "model", normalizers: "normalizer", pre_tokenizers: "pre_tokenizer"}
        name |= {processors: "post_processor", decoders: "decoder"}
        setattr(whole, name[module], part)
        written = json.loads(whole.to_str())[name[module]]
        assert written.keys() - {"type"} <= set(known[written["type"]]), written["type"]


def objects(value, path=()):
    """Objects within a tokenizer's file, but for those whose keys are texts or names of tokens."""
    if isinstance(value, dict):
        if path[-1:] not in (("vocab",), ("special_tokens",)):
            yield path, value
        for key, inner in value.items():
            if key not in ("vocab", "merges", "truncation", "padding"):
                yield from objects(inner, (*path, key))
    elif isinstance(value, list):
        for at, inner in enumerate(value):
            yield from objects(inner, (*path, at))


def damages(key):
    """The key with one letter more, less, and other."""
    at = len(key) // 2
    return key + "x", key[:at] + key[at + 1 :], key[:at] + "~" + key[at + 1 :]


def refusal(folder):
    with pytest.raises(BadInput) as error:
        tokenizer_from_folder(folder)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("kind", KINDS)
def test_a_letter_of_any_key_of_the_file_is_noticed(kind, tmp_path):
    folder = folder_of(tmp_path / kind, kind)
    whole = json.loads((folder / "tokenizer.json").read_text())
    whole["model"] |= {"vocab": {"<unk>": 0, "<bos>": 1, "</s>": 2, "a": 3}, "merges": []}
    whole["added_tokens"] = whole["added_tokens"][:3]
    keys = [(path, key) for path, inner in objects(whole) for key in inner]
    assert len(keys) > 50
    for path, key in keys:
        for damaged in damages(key):
            other = json.loads(json.dumps(whole))
            around = other
            for step in path:
                around = around[step]
            moved = {damaged if each == key else each: value for each, value in around.items()}
            around.clear()
            around.update(moved)
            (folder / "tokenizer.json").write_text(json.dumps(other))
            text = refusal(folder)
            assert repr(damaged) in text or f"`{key}`" in text or "did not match" in text


@pytest.mark.parametrize("key", READ)
def test_a_letter_of_a_key_of_the_configuration_is_noticed(key, tmp_path):
    value = {"extra_special_tokens": [], "additional_special_tokens": []}.get(key, "<unk>")
    value = {"added_tokens_decoder": {}, **dict.fromkeys(SWITCHES, False)}.get(key, value)
    for damaged in (*damages(key), ""):
        folder = folder_of(tmp_path / "llama2", "llama2")
        (folder / "tokenizer_config.json").write_text(json.dumps({damaged: value}))
        text = refusal(folder)
        assert f"got {damaged!r}" in text
        assert damaged == "" or f"such as {key} in" in text


@pytest.mark.parametrize("key", ["bos_token", "additional_special_tokens"])
def test_a_letter_of_a_key_of_older_files_is_noticed(key, tmp_path):
    folder = folder_of(tmp_path / "llama2", "llama2")
    (folder / "special_tokens_map.json").write_text(json.dumps({f"{key}s": "<bos>"}))
    assert f"special_tokens_map.json, got '{key}s'" in refusal(folder)


def test_the_end_of_a_text_under_another_name_is_noticed(tmp_path):
    folder = folder_of(tmp_path / "llama2", "llama2")
    (folder / "generation_config.json").write_text('{"eos_token_ie": 2}')
    assert "generation_config.json, got 'eos_token_ie'" in refusal(folder)
    for others in ({"bos_token_id": 1, "pad_token_id": 0}, {"eot_token_id": 1, "eoc_token_id": 0}):
        (folder / "generation_config.json").write_text(json.dumps(others))
        assert tokenizer_from_folder(folder).ends == {2}


# Keys as published files have them, which change nothing.
HARMLESS = [
    {"boi_token": "<unk>", "eoi_token": "<unk>", "eot_token": "<unk>"},
    {"boc_token": "<unk>", "bog_token": "<unk>", "bss_token": "<unk>", "ess_token": "<unk>"},
    {"legacy": False, "clean_up_tokenization_spaces": True, "sp_model_kwargs": {}, "errors": "x"},
    {"model_max_length": int(1e30), "use_default_system_prompt": False, "padding_side": "left"},
    {"bos_token": {"__type": "AddedToken", "content": "<bos>", "lstrip": False}},
    {"spaces_between_special_tokens": False, "processor_class": "X", "unsloth_version": "1"},
    {"added_tokens_decoder": {"1": {"content": "<bos>", "special": True, "normalized": False}}},
    {"model_max_length": float("inf"), "add_prefix_space": None, "tokenizer_class": None},
]


@pytest.mark.parametrize("config", HARMLESS)
def test_published_keys_of_the_configuration_change_nothing(config, tmp_path):
    folder = folder_of(tmp_path / "llama2", "llama2")
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": "</s>"} | config))
    tokenizer = tokenizer_from_folder(folder)
    assert all(tokenizer.encode(text) == tuple(made("llama2").encode(text).ids) for text in AWKWARD)


def _without_type(whole):
    del whole["model"]["type"]  # GPT-2's file
    del whole["model"]["ignore_merges"], whole["model"]["byte_fallback"]


def _older_metaspace(whole):
    older = {"type": "Metaspace", "replacement": "\u2581", "str_rep": "\u2581"}
    whole["pre_tokenizer"] = {**older, "add_prefix_space": True}
    whole["normalizer"] = None
    whole["decoder"] = {**older, "add_prefix_space": True}


def _cut(whole):
    whole["truncation"] = {"direction": "Right", "max_length": 3, "strategy": "LongestFirst"}
    whole["truncation"] |= {"stride": 0, "note": 1}
    whole["padding"] = {"strategy": {"Fixed": 9}, "direction": "Right", "pad_id": 0, "note": 1}
    whole["padding"] |= {"pad_to_multiple_of": None, "pad_type_id": 0, "pad_token": "<unk>"}


@pytest.mark.parametrize(
    ("kind", "change", "text"),
    [
        ("qwen3", _without_type, "the word"),
        ("llama2", _older_metaspace, "the word"),
        ("llama2", _cut, "the word 111 of"),
    ],
)
def test_published_keys_of_the_file_change_nothing(kind, change, text, tmp_path):
    folder = folder_of(tmp_path / kind, kind)
    whole = json.loads((folder / "tokenizer.json").read_text())
    change(whole)
    (folder / "tokenizer.json").write_text(json.dumps(whole))
    assert tokenizer_from_folder(folder).encode(text) == tuple(made(kind).encode(text).ids)


NEW = {"content": "<new>"}
VALUES = [
    *(("tokenizer_config.json", {key: "true"}, f"{key} true or false") for key in SWITCHES),
    *(("tokenizer_config.json", {key: 1}, f"{key} true or false") for key in SWITCHES),
    ("tokenizer_config.json", {"bos_token": 1}, "bos_token as a token"),
    ("tokenizer_config.json", {"bos_token": True}, "bos_token as a token"),
    ("tokenizer_config.json", {"bos_token": {"content": 3}}, "bos_token as a token"),
    ("tokenizer_config.json", {"bos_token": NEW | {"lstrip": "true"}}, "lstrip of a token true"),
    ("tokenizer_config.json", {"bos_token": NEW | {"lstrap": True}}, "'lstrap' = True"),
    ("tokenizer_config.json", {"tokenizer_class": 3}, "the name of a class"),
    ("tokenizer_config.json", {"extra_special_tokens": [3]}, "extra_special_tokens as a token"),
    (
        "tokenizer_config.json",
        {"additional_special_tokens": [NEW | {"rstrip": 1}]},
        "rstrip of a token true",
    ),
    (
        "tokenizer_config.json",
        {"added_tokens_decoder": {"1": {"content": "<bos>", "normblized": False}}},
        "'normblized' = False",
    ),
    (
        "tokenizer_config.json",
        {"added_tokens_decoder": {"1": {"content": "<bos>", "special": "true"}}},
        "special of a token true",
    ),
    (
        "tokenizer_config.json",
        {"added_tokens_decoder": {"1": {"content": "<bos>", "special": None}}},
        "special of a token true",
    ),
    ("special_tokens_map.json", {"cls_token": 3}, "cls_token as a token"),
    ("special_tokens_map.json", {"cls_token": NEW | {"special": 1}}, "special of a token true"),
    ("added_tokens.json", {"<new>": "5"}, "as a whole number from 0"),
    ("added_tokens.json", {"<new>": 5.0}, "as a whole number from 0"),
    ("added_tokens.json", {"<new>": True}, "as a whole number from 0"),
    ("added_tokens.json", {"<new>": -5}, "as a whole number from 0"),
]


@pytest.mark.parametrize(("name", "config", "text"), VALUES)
def test_values_that_no_key_has_are_refused_by_name(name, config, text, tmp_path):
    folder = folder_of(tmp_path / "qwen3", "qwen3")
    (folder / name).write_text(json.dumps(config))
    assert text in (words := refusal(folder))
    assert name in words


def _of_unknown_type(whole):
    whole["decoder"]["type"] = "ByteLevels"


def _added_object(whole):
    whole["added_tokens"] = {}


def _true_number(whole):
    whole["added_tokens"][1]["id"] = True


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (_of_unknown_type, "a decoder of a known type"),
        (_added_object, "a list of added tokens"),
        (_true_number, "id of an added token, of type int"),
    ],
)
def test_values_that_no_part_of_the_file_has_are_refused_by_name(change, text, tmp_path):
    folder = folder_of(tmp_path / "qwen3", "qwen3")
    whole = json.loads((folder / "tokenizer.json").read_text())
    change(whole)
    (folder / "tokenizer.json").write_text(json.dumps(whole))
    assert text in refusal(folder)


def test_a_token_that_is_there_twice_is_named(tmp_path):
    folder = folder_of(tmp_path / "qwen3", "qwen3")
    content = (folder / "tokenizer.json").read_text()
    escape = "\\u0030"  # the digit zero, by its number
    for spelled in ("0", escape):
        assert '"vocab": {' in content
        twice = content.replace('"vocab": {', f'"vocab": {{"{spelled}": 7,', 1)
        (folder / "tokenizer.json").write_text(twice)
        assert "the key '0' twice" in refusal(folder)
    twice = content.replace('"version"', '"version": "1.0", "version"', 1)
    (folder / "tokenizer.json").write_text(twice)
    assert "the key 'version' twice" in refusal(folder)


def test_names_of_keys_within_texts_are_no_keys(tmp_path):
    folder = folder_of(tmp_path / "qwen3", "qwen3", pad_token='"vocab": {"a": 1, "a": 2}')
    engine = Tokenizer.from_file(str(folder / "tokenizer.json"))
    texts = ['"vocab": {', '\\"merges": [', "{", "]", '"', "\\", '"a": 1, "a": 2']
    engine.add_tokens(texts)
    engine.save(str(folder / "tokenizer.json"))
    tokenizer = tokenizer_from_folder(folder)
    assert [tokenizer.encode(text) for text in texts] == [
        (engine.token_to_id(text),) for text in texts
    ]
