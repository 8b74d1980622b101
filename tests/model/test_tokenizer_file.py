"""A ``tokenizer.json`` that is read in parts, against the package that reads it whole."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from model.made_tokenizers import KINDS, folder_of, made
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from glassesjax.errors import BadInput
from glassesjax.model import tokenizer_file
from glassesjax.model.tokenizer_file import (
    fill,
    frame_of,
    read_merges,
    read_numbers,
    read_tokenizer_file,
)

PATH = Path("tokenizer.json")


def opened(text):
    content = text.encode()
    file = read_tokenizer_file(content, PATH)
    engine = frame_of(file, content, PATH)
    numbers = read_numbers(content, file, PATH)
    fill(engine, file, numbers, read_merges(content, file, numbers, PATH), PATH)
    return engine


def texts(kind):
    """The file as the package writes it, indented, in ASCII, and with merges as older files."""
    whole = made(kind).to_str(pretty=True)
    record = json.loads(whole)
    older = json.loads(whole)
    pairs = [pair for pair in older["model"]["merges"] if not any(" " in part for part in pair)]
    older["model"]["merges"] = [" ".join(pair) for pair in pairs]
    yield from (whole, json.dumps(record), json.dumps(record, ensure_ascii=False, indent=3))
    yield json.dumps(older)


@pytest.mark.parametrize("kind", KINDS)
def test_parts_make_the_tokenizer_that_the_package_reads(kind):
    for text in texts(kind):
        assert opened(text).to_str() == Tokenizer.from_str(text).to_str()


def other_models():
    yield models.WordLevel({"<unk>": 0, "the": 1}, unk_token="<unk>")
    yield models.Unigram([("<unk>", 0.0), ("\u2581", -1.0), ('a "b', -2.0)], unk_id=0)
    yield models.BPE()
    yield models.BPE(vocab={"a": 0, "b": 1, "ab": 7}, merges=[("a", "b")], unk_token="a")
    names = {'"': 0, "\\": 1, '"\\': 2, "\n": 3, "\x01": 4, "\u2028": 5, "{": 6, "}],": 7}
    yield models.BPE(vocab=names, merges=[('"', "\\")], fuse_unk=True)


@pytest.mark.parametrize("model", [*other_models()], ids=lambda each: type(each).__name__)
def test_other_models_and_odd_names_are_those_of_the_package(model):
    whole = Tokenizer(model)
    whole.normalizer = normalizers.Replace('"vocab": {', "[")
    whole.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    whole.enable_padding(length=3)
    expected = Tokenizer.from_str(whole.to_str())
    expected.no_padding()
    for text in (whole.to_str(), json.dumps(json.loads(whole.to_str()), indent=1)):
        assert opened(text).to_str() == expected.to_str()


def test_many_tokens_are_read_in_chunks(monkeypatch):
    text = made("llama2").to_str()
    few = tokenizer_file._TOKENS.pattern.replace(b"20000", b"7")
    pairs = tokenizer_file._MERGED.pattern.replace(b"20000", b"3")
    monkeypatch.setattr(tokenizer_file, "_TOKENS", tokenizer_file.re.compile(few))
    monkeypatch.setattr(tokenizer_file, "_MERGED", tokenizer_file.re.compile(pairs))
    assert opened(text).to_str() == made("llama2").to_str()


VOCABULARY = '{"a": 0, "b": 1, "ab": 2, "c": 3}'


def with_model(vocabulary=VOCABULARY, merges='["a b"]', more=""):
    model = f'{{"type": "BPE", "vocab": {vocabulary}, "merges": {merges}{more}}}'
    return f'{{"version": "1.0", "model": {model}}}'


def test_a_whole_model_opens():
    assert opened(with_model()).encode("ab").ids == [2]
    assert opened(with_model(merges='[["a", "b"]]')).encode("ab").ids == [2]


def test_the_heading_of_a_file_of_merges_is_no_merge():
    text = with_model(merges='["#version: 0.2", "a b", "#version"]')
    assert opened(text).to_str() == Tokenizer.from_str(text).to_str()
    assert opened(text).encode("ab").ids == [2]


WORDS = '{"version": "1.0", "model": {"type": "WordLevel", "unk_token": "u", "vocab": VOCAB}}'
DAMAGED = {
    "a word twice": (WORDS.replace("VOCAB", '{"u": 0, "a": 1, "a": 2}'), "the key 'a' twice"),
    "words of a number": (WORDS.replace("VOCAB", '{"u": 0, "a": 0}'), "the number 0 for 'u' and"),
    "a heading as a pair": (with_model(merges='[["#version", "a"]]'), "a merge of '#version' and"),
    "a number twice": (with_model('{"a": 0, "b": 1, "ab": 1}'), "the number 1 for 'b' and 'ab'"),
    "a token twice": (with_model('{"a": 0, "b": 1, "ab": 2, "a": 3}'), "the key 'a' twice"),
    "two spellings": (with_model('{"a": 0, "b": 1, "ab": 2, "\\u0061": 3}'), "the key 'a' twice"),
    "a huge number": (with_model('{"a": 0, "b": 1, "ab": 4294967296}'), "number 4294967296 over"),
    "digits": (with_model('{"a": 0, "b": 1, "ab": ' + "9" * 5000 + "}"), "one with"),
    "a text": (with_model('{"a": 0, "b": "1", "ab": 2}'), "damage in its vocab"),
    "a fraction": (with_model('{"a": 0, "b": 1.0, "ab": 2}'), "damage in its vocab"),
    "a sign": (with_model('{"a": 0, "b": -1, "ab": 2}'), "damage in its vocab"),
    "no comma": (with_model('{"a": 0, "b": 1 "ab": 2}'), "damage in its vocab"),
    "two commas": (with_model('{"a": 0, "b": 1, , "ab": 2}'), "damage in its vocab"),
    "an escape": (with_model('{"a": 0, "b": 1, "\\x": 2}'), "damage in its vocab"),
    "a line": (with_model('{"a": 0, "b": 1, "\n": 2}'), "damage in its vocab"),
    "a list": (with_model('[["a", 0.5]]', "[]"), "a vocabulary of texts with numbers"),
    "null": (with_model("null"), "damage in its vocab"),
    "a merge of one": (with_model(merges='["ab"]'), "a merge of 'ab', which makes no token"),
    "of three": (with_model(merges='["a b c"]'), "a merge of 'a' and 'b' and 'c'"),
    "unknown first": (with_model(merges='["z b"]'), "a merge of 'z' and 'b'"),
    "unknown second": (with_model(merges='[["a", "z"]]'), "a merge of 'a' and 'z'"),
    "no token": (with_model(merges='["a b", "b c"]'), "a merge of 'b' and 'c'"),
    "a list of three": (with_model(merges='[["a", "b", "c"]]'), "damage in its merges"),
    "numbers": (with_model(merges="[0, 1]"), "damage in its merges"),
    "a cut end": (with_model()[:-2], "no end|one with"),
    "a model twice": (with_model(more=', "vocab": {}'), "the key 'vocab' twice"),
    "bytes": (with_model('{"a": 0, "b": 1, "ab": 2, "\udcff": 3}'), "one with"),
}


def read(content):
    file = read_tokenizer_file(content, PATH)
    read_merges(content, file, read_numbers(content, file, PATH), PATH)


@pytest.mark.parametrize("kind", DAMAGED)
def test_damage_is_named_in_one_line(kind):
    text, expected = DAMAGED[kind]
    content = text.encode("utf-8", "surrogateescape")
    with pytest.raises(BadInput, match=expected) as error:
        read(content)
    assert "\n" not in str(error.value)


LARGE = 2**18
CHILD = """
import resource, sys, time
from pathlib import Path
import tokenizers
from glassesjax.errors import BadInput
from glassesjax.model.folder_tokenizer import tokenizer_from_folder
most = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * UNIT / 2**20
before, start = most(), time.process_time()
try:
    tokenizer_from_folder(Path(sys.argv[1]))
except BadInput as error:
    print(most() - before, time.process_time() - start, error)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"decoder": null', '"decoder": {"type": "WordPiece", "prefix": "", "cleanup": true}'),
        ('"ignore_merges"', '"ignore_merhes"'),
        ('"t262143": 262143', '"t262143": 262142'),
        ('["t", "262143"]]', '["t", "262144"]]'),
        ('["t", "262143"]]', '["t", "262143"]'),
    ],
)
def test_a_refusal_of_a_large_vocabulary_takes_2_s_and_150_mb(old, new, tmp_path):
    """Published ones have up to 262,144 tokens and 514,906 merges; the package takes 370 MB."""
    whole = json.loads(made("qwen3").to_str()) | {"added_tokens": [], "decoder": None}
    names = [f"t{number}" for number in range(LARGE)]
    vocabulary = {name: number for number, name in enumerate(names)}
    extra = {str(number): LARGE + number for number in range(LARGE)} | {"t": 2 * LARGE}
    merges = [["t", name.removeprefix("t")] for name in names]
    whole["model"] |= {"vocab": vocabulary | extra, "merges": merges}
    folder = folder_of(tmp_path / "large", "qwen3")
    text = json.dumps(whole)
    assert text.count(old) == 1
    (folder / "tokenizer.json").write_text(text.replace(old, new))
    unit = "1" if sys.platform == "darwin" else "1024"
    child = [sys.executable, "-c", CHILD.replace("UNIT", unit), str(folder)]
    words = subprocess.run(child, capture_output=True, text=True, check=True).stdout.split(" ", 2)
    assert float(words[0]) < 150
    assert float(words[1]) < 2
