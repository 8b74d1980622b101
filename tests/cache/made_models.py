"""Small decoders for the tests of the cache, and what their layers hold."""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from glassesjax.cache import retained, unroll
from glassesjax.cache.replay import eviction_steps
from glassesjax.model import (
    AdaptiveTemperature,
    Alibi,
    Causal,
    Decoder,
    DecoderConfig,
    DenseMlp,
    GatedMlp,
    LayerNorm,
    Learned,
    MaskByLayer,
    NoNorm,
    NoPositions,
    PositionsByLayer,
    RMSNorm,
    Rotary,
    ScalableSoftmax,
    Window,
    ZeroMlp,
    build_decoder,
)

BASE: dict[str, Any] = {"vocab_size": 32, "num_heads": 4, "num_kv_heads": 2, "model_dim": 8}
BASE |= {"head_dim": 4, "mlp": GatedMlp(dim=12)}
# Few, so that compiled functions serve many weights; between them every switch of attention.
CONFIGS = {
    "half": DecoderConfig(**BASE, positions=Rotary()),
    "interleaved": DecoderConfig(
        **BASE | {"num_kv_heads": 4, "mlp": DenseMlp(dim=12)},
        positions=Rotary(style="interleaved", base=50.0),
        attn_softcap=4.0,
        output_softcap=9.0,
        tied=False,
    ),
    "alibi": DecoderConfig(**BASE | {"num_kv_heads": 1}, positions=Alibi(), qkv_bias=True),
    "none": DecoderConfig(**BASE, positions=NoPositions(), norm=LayerNorm(), bias=True),
    "sliding": DecoderConfig(**BASE, positions=Rotary(), mask=Window(width=5)),
    "scalable": DecoderConfig(
        **BASE, positions=Rotary(), mask=Window(width=5), temperature=ScalableSoftmax()
    ),
    "adaptive": DecoderConfig(**BASE, positions=Alibi(), temperature=AdaptiveTemperature()),
    # As Gemma 3 and OLMo 2: norms after, of heads and of whole projections, layers that differ.
    "sandwich": DecoderConfig(
        **BASE | {"norm": RMSNorm(offset=1.0), "norm_place": "both", "qk_norm": "head"},
        positions=PositionsByLayer(layers=(Rotary(base=50.0), Rotary(divisors=(1.0, 4.0)))),
        mask=MaskByLayer(layers=(Window(width=5), Causal())),
    ),
    "after": DecoderConfig(
        **BASE | {"norm_place": "after", "qk_norm": "whole", "mlp": DenseMlp(activation="relu")},
        positions=Rotary(fraction=0.5, attention_factor=1.3),
    ),
    "learned": DecoderConfig(**BASE, positions=Learned(max_length=32)),
}


@functools.cache
def shapes_of(config):
    return jax.eval_shape(lambda key: Decoder(config, key=key), jax.random.key(0))


def drawn(config, seed, dtype=np.float64):
    """A decoder whose every weight is random, with attention logits of a few units."""
    rng = np.random.default_rng(seed)

    def draw(path, leaf):
        center = float("gain" in jax.tree_util.keystr(path))
        return jnp.asarray(rng.normal(center, 0.6, leaf.shape).astype(dtype))

    return jax.tree_util.tree_map_with_path(draw, shapes_of(config))


def text_of(seed, length):
    """Distinct tokens: equal ones would tie where there are no positions."""
    return np.random.default_rng(seed).permutation(BASE["vocab_size"])[:length].astype(np.int32)


def held_after(dropped, length):
    """Positions that one layer holds: step, decision, in order of time."""
    kept = retained(eviction_steps(dropped, length))
    return [[np.flatnonzero(row[step]).tolist() for row in kept] for step in range(length)]


def told(logits):
    """A decoder of one layer whose attention logits are given, ``[head, query, key]``.

    Token t is the t-th unit vector; head by head, keys are the tokens themselves, and the query of
    token t is a row of logits. Values are the tokens, so that what is seen is what was averaged.
    """
    heads, length, _ = np.shape(logits)
    config = DecoderConfig(
        vocab_size=length,
        num_layers=1,
        num_heads=heads,
        model_dim=length,
        head_dim=length,
        norm=NoNorm(),
        mlp=ZeroMlp(),
        attn_scale=1.0,
    )
    arrays = {
        "embed.table": np.eye(length),
        "blocks.attention.query": np.swapaxes(logits, 1, 2).reshape(1, -1, length),
        "blocks.attention.key": np.tile(np.eye(length), (heads, 1))[None],
        "blocks.attention.value": np.tile(np.eye(length), (heads, 1))[None],
        "blocks.attention.output": np.tile(np.eye(length) / heads, (1, heads))[None],
    }
    return unroll(build_decoder(config, {n: jnp.asarray(a) for n, a in arrays.items()}))


def log_rows(rows):
    """Logits out of rows of weights, of any total; zero where a row has no number or a zero."""
    full = np.zeros((1, len(rows), len(rows)))
    for query, row in enumerate(rows):
        for key, weight in row.items() if isinstance(row, dict) else enumerate(row):
            full[0, query, key] = math.log(weight)
    return full
