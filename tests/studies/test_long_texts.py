"""A text is read until there are as many tokens as were asked for, or it ends."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from model.made_gguf import llama_file, llama_tensors

from glassesjax.model import open_gguf, tokenizer
from glassesjax.studies.bounded import measure as bounded
from glassesjax.studies.influence import measure as influence
from glassesjax.studies.perplexity import subject as perplexity_subject
from glassesjax.studies.perplexity.settings import PerplexitySettings
from glassesjax.studies.retention import measure as retention
from glassesjax.tasks.text import text_pieces

pytestmark = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("gguf", "tokenizers")),
    reason="the packages that read models are not installed",
)
RUNS = [2**i * "=" for i in range(7)]  # the last is 64 characters long, and one token
MARKS = ["=\n=", "a b"]
WORDS = {
    "tokenizer.ggml.tokens": ["<s>", *RUNS, *MARKS, "a", "b", "Ġ", "Ċ", "c", "1", "0"],
    "tokenizer.ggml.token_type": [3, *[1] * 7, *[4] * 2, *[1] * 7],
    "tokenizer.ggml.merges": [f"{run} {run}" for run in RUNS[:-1]],
    "tokenizer.ggml.add_bos_token": True,
    "llama.context_length": 512,
}
LONG = RUNS.index(64 * "=") + 1


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("long")
    return str(llama_file(folder / "long.gguf", WORDS, tensors=llama_tensors(17)))


def influenced(model, text, count):
    settings = influence.InfluenceSettings(model=model, text=(text,), passages=1, max_tokens=count)
    (passage,) = influence.open_subject(settings).passages
    return passage.tokens


def retained(model, text, count):
    settings = retention.RetentionSettings(
        model=model, text=text, max_tokens=count, policies=("window",), slots=("4",)
    )
    return retention.open_subject(settings).tokens


def bound(model, text, count):
    own = {"policies": ("window",), "slots": ("4",), "kinds": ("influence",), "lengths": (4,)}
    settings = bounded.BoundedSettings(model=model, text=text, max_tokens=count, **own)
    return bounded.cells(settings, "its own", open_gguf(Path(model)))[0].tokens


def perplexed(model, text, count):
    own = {"span": "book", "windows": None, "policies": ("full",), "slots": ("4",)}
    settings = PerplexitySettings(model=model, text=text, max_tokens=count, **own)
    (window,) = perplexity_subject.open_subject(settings).windows
    return tuple(window.tolist())[:count]  # which counts the tokens of the text alone


READERS = [influenced, retained, bound, perplexed]


@pytest.mark.parametrize("read", READERS)
def test_long_tokens_are_read_until_there_are_enough(model, tmp_path, read):
    file = tmp_path / "long.txt"
    file.write_text("=" * 64 * 50)  # 32 characters a token would be 20 tokens
    assert read(model, str(file), 40) == (0, *[LONG] * 39)


@pytest.mark.parametrize("read", READERS)
def test_a_text_that_ends_is_read_whole(model, tmp_path, read):
    file = tmp_path / "short.txt"
    file.write_text("=" * 64 * 3 + "ab")
    a = len(RUNS) + len(MARKS) + 1
    assert read(model, str(file), 40) == (0, LONG, LONG, LONG, a, a + 1)


@pytest.mark.parametrize("kind", [1, 4], ids=["no marks", "marks across the cuts"])
@pytest.mark.parametrize("piece", [1, 3, 10])
def test_the_stream_is_what_encoding_gives(tmp_path, monkeypatch, piece, kind):
    own = WORDS | {"tokenizer.ggml.token_type": [3, *[1] * 7, *[kind] * 2, *[1] * 7]}
    path = llama_file(tmp_path / "made.gguf", own, tensors=llama_tensors(17))
    mine = open_gguf(path).tokenizer
    monkeypatch.setattr(tokenizer, "text_pieces", lambda text: text_pieces(text, piece))
    rng = np.random.default_rng(0)
    for _ in range(50):
        text = "".join(rng.choice([*"abc= \n", "<s>", "=\n=", "a b"], 60))
        assert tuple(mine.stream(text)) == mine.encode(text)
    assert next(mine.stream("é" * 9)) == 0  # nothing is read before it is wanted
