"""The bound on rounding: over what float32 does, and far under what another count does."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from made_decoders import made

from glassesjax.model import (
    Bidirectional,
    DecoderConfig,
    DenseMlp,
    GatedMlp,
    Layout,
    RMSNorm,
    Rotary,
    build_decoder,
    flat_parameters,
)
from glassesjax.trace.constants import GELU_LIPSCHITZ
from glassesjax.trace.roundoff import FEW, layer_terms, score_roundoff

CONFIG = DecoderConfig(vocab_size=3, num_heads=2, model_dim=8, mask=Bidirectional())
TOKENS = (0, 1, 1, 2, 1, 0)
LAST = jnp.asarray(len(TOKENS) - 1, jnp.int32)


@jax.jit
def read(decoder, tokens):
    return decoder.logits(decoder(tokens)[0])[-1]


bound_of = jax.jit(score_roundoff)


def both(seed):
    """The decoder in float32, and with the same weights in float64."""
    narrow = made(CONFIG, jax.random.key(seed), jnp.float32)
    return narrow, jax.tree.map(lambda w: jnp.asarray(np.asarray(w, np.float64)), narrow)


@pytest.mark.parametrize("seed", range(3))
def test_float32_errs_less_than_its_bound(seed):
    narrow, wide = both(seed)
    tokens, line = jnp.asarray(TOKENS, jnp.int32), Layout.line(len(TOKENS))
    error = np.max(np.abs(np.asarray(read(narrow, tokens), float) - read(wide, tokens)))
    assert 0 < error <= float(bound_of(narrow, tokens, line, LAST))


@pytest.mark.parametrize("seed", range(3))
def test_in_float64_the_bound_tells_rounding_from_what_one_token_more_does(seed):
    _, wide = both(seed)
    tokens, line = jnp.asarray(TOKENS, jnp.int32), Layout.line(len(TOKENS))
    longer = np.asarray(read(wide, jnp.asarray((1, *TOKENS), jnp.int32)))
    small = float(bound_of(wide, tokens, line, LAST))
    assert small < 1e-5 < np.max(np.abs(longer - np.asarray(read(wide, tokens))))


def test_what_is_not_counted_is_refused():
    config = DecoderConfig(vocab_size=3, model_dim=8, positions=Rotary())
    decoder = made(config, jax.random.key(0), jnp.float32)
    with pytest.raises(ValueError, match="without positions"):
        score_roundoff(decoder, jnp.asarray(TOKENS, jnp.int32), Layout.line(len(TOKENS)), LAST)


def test_the_bound_of_a_decoder_of_width_one_by_hand():
    """Two heads and two hidden units; the root mean square of a number v is sqrt(v^2 + 1)."""
    config = DecoderConfig(
        vocab_size=3, num_layers=1, num_heads=2, head_dim=1, model_dim=1, mask=Bidirectional(),
        norm=RMSNorm(eps=1.0), mlp=DenseMlp(dim=2), attn_scale=-0.25,
    )  # fmt: skip
    table, root = np.array([0.5, -1.0, 2.0]), lambda v: np.sqrt(v * v + 1)
    weights = {
        "attention.query": [0.3, 0.4], "attention.key": [0.9, 1.2], "attention.value": [1.2, 1.6],
        "attention.output": [0.9, -1.2], "mlp.up": [0.7, -2.4], "mlp.down": [1.5, 2.0],
    }  # fmt: skip
    wide = ("attention.output", "mlp.down")
    shaped = lambda name, row: jnp.asarray(
        np.reshape(row, (1, 1, 2) if name in wide else (1, 2, 1))
    )
    arrays = {f"blocks.{name}": shaped(name, row) for name, row in weights.items()}
    arrays |= {f"blocks.norm{at}.gain": jnp.asarray([[1.0]]) for at in (1, 2)}
    arrays |= {"final_norm.gain": jnp.asarray([1.0]), "embed.table": jnp.asarray(table[:, None])}
    decoder = build_decoder(config, arrays)
    query, key, value, output, up, down = (np.asarray(row) for row in weights.values())

    v = table[list(TOKENS)]
    n, x = len(v), v / root(v)
    logits = -0.25 * np.einsum("h,t,s->hts", query * key, x, x)
    mixing = np.exp(logits) / np.sum(np.exp(logits), axis=-1, keepdims=True)
    mid = v + np.einsum("h,hts,s->t", output * value, mixing, x)
    hidden = np.outer(mid / root(mid), up)
    after = mid + np.asarray(jax.nn.gelu(hidden)) @ down

    largest = lambda row: np.max(np.abs(row))
    size = {
        name: np.linalg.norm(row) for name, row in weights.items()
    }  # 0.5, 1.5, 2, 1.5, 2.5, 2.5
    logit = 0.25 * size["attention.query"] * size["attention.key"] * largest(x) ** 2
    terms = 2 * (4 * 1 + 1 + 3 * FEW) * logit + n + FEW  # a weight's, and those of its sums
    terms += 2 * 1 + n + 2 * 1 + FEW
    attended = size["attention.output"] * np.sqrt(2) * size["attention.value"] * largest(x)
    slope = GELU_LIPSCHITZ * size["mlp.up"] * size["mlp.down"]
    error = (1 + slope * largest(1 / root(mid))) * (attended * terms + largest(mid))
    error += slope * largest(mid / root(mid)) * (2 * 1 + 2 + 2 * FEW) + largest(after)
    # A score is w_t v / sqrt(v^2 + 1): its derivative, and its own sum.
    by_hand = 2 / root(after[-1]) ** 3 * np.sqrt(n) * error
    by_hand += 2 * abs(after[-1] / root(after[-1])) * (2 * 1 + FEW)
    line = Layout.line(n)
    found = float(bound_of(decoder, jnp.asarray(TOKENS, jnp.int32), line, LAST))
    assert found * 2.0**53 == pytest.approx(by_hand, rel=1e-13, abs=0)  # sums of a dozen terms


def test_sizes_of_rows_are_their_norms():
    """A layer that adds nothing, of width two: only its roundings of the stream itself are left."""
    config = DecoderConfig(
        vocab_size=2, num_layers=1, model_dim=2, norm=RMSNorm(eps=1.0), mlp=DenseMlp(dim=2)
    )
    shapes = jax.tree.map(np.shape, flat_parameters(made(config, jax.random.key(0))))
    arrays = {
        name: jnp.asarray(np.full(shape, float("gain" in name))) for name, shape in shapes.items()
    }
    arrays["embed.table"] = jnp.asarray([[3.0, -4.0], [2.0, 1.0]])
    tokens, last = jnp.asarray([0, 1], jnp.int32), jnp.asarray(1, jnp.int32)
    decoder = build_decoder(config, arrays)
    found = float(bound_of(decoder, tokens, Layout.line(2), last))
    table, v = np.asarray(arrays["embed.table"]), np.array([2.0, 1.0])
    root = np.sqrt(np.mean(v * v) + 1)
    slopes = table @ (np.eye(2) - np.outer(v, v) / (2 * root**2)) / root
    steepest = np.max(np.linalg.norm(slopes, axis=1))
    by_hand = steepest * np.sqrt(2) * (5 + 5) + 5 * np.sqrt(5) / root * (2 * 2 + FEW)
    assert found * 2.0**53 == pytest.approx(by_hand, rel=64 * 2.0**-53, abs=0)


def test_terms_of_a_layer_are_those_of_its_sums():
    plain = DecoderConfig(vocab_size=3, num_heads=4, model_dim=64)
    norms, projections, logits, output, mlp = 2 * 128, 3 * 64, 16, 64, 64 + 256
    assert layer_terms(plain) == norms + projections + logits + output + mlp + 5 * FEW
    modern = dataclasses.replace(
        plain, num_kv_heads=2, head_dim=8, norm_place="both", qk_norm="head", mlp=GatedMlp(dim=24)
    )
    norms, logits, output, mlp = 4 * 128 + 4 * 8, 8, 32, 2 * 64 + 24
    assert layer_terms(modern) == norms + projections + logits + output + mlp + 9 * FEW
    whole = dataclasses.replace(modern, qk_norm="whole")
    assert layer_terms(whole) - layer_terms(modern) == 4 * (32 - 8)
