"""Theorem 4.2's certificate for each kind of block, against a pass in extended precision."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from certificate_reference import LONG, inequalities
from made_decoders import made

from glassesjax.model import (
    Alibi,
    Causal,
    DecoderConfig,
    DenseMlp,
    GatedMlp,
    LayerNorm,
    Learned,
    MaskByLayer,
    NoPositions,
    PositionsByLayer,
    RMSNorm,
    Rotary,
    Window,
    build_decoder,
    flat_parameters,
)
from glassesjax.theory.collapse import certificate_roundoff, collapse_certificate
from glassesjax.trace import certificate_rows

U = 2.0**-53
NORMS = (1, 2, "inf")
LAYERS, HEADS, DIM, TOKENS = 2, 2, 8, (0, 3, 1, 5, 2, 1, 1)
CONFIG = DecoderConfig(
    vocab_size=6,
    num_layers=LAYERS,
    num_heads=HEADS,
    model_dim=DIM,
    head_dim=4,
    positions=Rotary(),
    mlp=GatedMlp(dim=12),
)
GEGLU, RELU = GatedMlp(activation="gelu", dim=12), DenseMlp(activation="relu", dim=12)
LOCAL = {
    "positions": PositionsByLayer(layers=(Rotary(base=10.0), Rotary(base=1e4))),
    "mask": MaskByLayer(layers=(Window(width=3), Causal())),
}
KINDS = {
    "llama": {"num_kv_heads": 1},
    "qwen3": {"num_kv_heads": 1, "qk_norm": "head", "qkv_bias": True},
    "gemma3": {"norm": RMSNorm(offset=1.0), "norm_place": "both", "qk_norm": "head", "mlp": GEGLU}
    | LOCAL,
    "olmo2": {"norm_place": "after", "qk_norm": "whole"},
    "neox": {"norm": LayerNorm(), "block": "parallel", "mlp": DenseMlp(dim=12), "bias": True}
    | {"positions": Rotary(fraction=0.5), "qkv_bias": True},
    "opt": {"norm": LayerNorm(), "mlp": RELU, "bias": True, "positions": Learned(max_length=9)},
    "weighted": {"residual_weight": 1.4, "block": "parallel", "norm_place": "both"}
    | {"positions": Alibi(slopes=(0.1, 0.7)), "norm": LayerNorm(), "qk_norm": "whole"},
    "yarn": {"attn_softcap": 2.0, "residual_weight": 0.3, "bias": True}
    | {
        "positions": PositionsByLayer(
            layers=(Rotary(fraction=0.5, attention_factor=1.3), NoPositions())
        )
    },
}


rows_of = jax.jit(certificate_rows, static_argnames="norm")
# By itself, since rows of all kinds have one shape: it is compiled once a norm.
certificate_of = jax.jit(collapse_certificate, static_argnames="norm")
roundoff_of = jax.jit(certificate_roundoff)
entered = jax.jit(lambda decoder, tokens: decoder.enter(tokens))


def sharp(decoder, rng):
    """Matrices of any size, gains of either sign that are not equal, and biases."""
    config, arrays = decoder.config, flat_parameters(decoder)
    offset = config.norm.offset if isinstance(config.norm, RMSNorm) else 0.0
    for name, array in arrays.items():
        normal = rng.normal(size=array.shape)
        if name.endswith(".gain"):
            signs = np.where(rng.random(array.shape) < 0.3, -1.0, 1.0)
            arrays[name] = jnp.asarray(signs * np.exp(rng.choice([0.3, 1.0]) * normal) - offset)
        elif "bias" in name:
            arrays[name] = jnp.asarray(rng.choice([0.1, 1.0]) * normal)
        else:
            arrays[name] = array * np.exp(rng.uniform(np.log(0.1), np.log(16.0)))
    return build_decoder(config, arrays)


def drawn(kind, seed):
    config = dataclasses.replace(CONFIG, **KINDS[kind])
    rng = np.random.default_rng([seed, sorted(KINDS).index(kind)])
    return sharp(made(config, jax.random.key(seed)), rng)


def bounds_of(found, layer):
    """What the library has of the same names as the reference."""
    parts = {name: getattr(found.layers, name) for name in ("mid", "out", "by_increments")}
    bounds = {name: pair.bound[layer] for name, pair in parts.items()}
    return bounds | {"composed": found.propagated[layer + 1]}


def assert_held(decoder, tokens, norm):
    tokens = jnp.asarray(tokens, jnp.int32)
    rows = rows_of(decoder, tokens, norm=norm)
    parts = rows, certificate_of(rows, norm=norm), roundoff_of(rows)
    rows, found, rounding = jax.tree.map(np.asarray, parts)
    for layer, sides in enumerate(inequalities(decoder, entered(decoder, tokens), norm)):
        # A masked key makes a range of logits infinite, and rounding of nothing.
        rounded = lambda pair: sides["rounding"] * pair.scale  # noqa: B023
        for name in ("mid", "out", "composed", "by_increments", "logits"):
            pair = sides[name]
            finite = np.isfinite(pair.bound)
            allowed = np.where(finite, pair.bound + np.finfo(LONG).eps * rounded(pair), np.inf)
            assert np.all(pair.measured <= allowed), (name, layer)
        if layer == 0:  # whose rows are exact
            for name in ("mid", "out", "by_increments"):
                apart = np.abs(getattr(found.layers, name).measured[0] - sides[name].measured)
                assert np.all(apart <= rounding[name][0]), name
        for name, bound in bounds_of(found, layer).items():
            pair = sides[name]
            finite = np.isfinite(bound)
            assert np.all((pair.bound > 1e300)[~finite]), (name, layer)  # beyond float64
            apart = np.abs(bound[finite] - pair.bound[finite])
            assert np.all(apart <= U * rounded(pair)[finite]), (name, layer)
        for name in ("query_lipschitz", "increment"):
            np.testing.assert_allclose(
                getattr(rows, name)[layer].astype(LONG),
                sides[name],
                rtol=U * sides["rounding"],
            )


CASES = [
    pytest.param(kind, norm, id=f"{kind}-{norm}", marks=[pytest.mark.slow] * (norm != quick))
    for kind, quick in zip(KINDS, 3 * NORMS, strict=False)
    for norm in NORMS
]


@pytest.mark.parametrize(("kind", "norm"), CASES)
def test_inequalities_hold_and_bounds_are_those_of_the_reference(kind, norm):
    for seed in range(3):
        assert_held(drawn(kind, seed), TOKENS, norm)
    assert_held(drawn(kind, 3), (*TOKENS[:-1], 2), norm)  # last tokens that differ


@pytest.mark.slow
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("kind", KINDS)
def test_inequalities_hold_on_many_draws(kind, norm):
    for seed in range(4, 84):
        assert_held(drawn(kind, seed), TOKENS if seed % 2 else (*TOKENS[:-1], 2), norm)
