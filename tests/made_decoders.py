"""Decoders for tests whose weights NumPy draws: nothing is compiled for them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from glassesjax.model import (
    Decoder,
    DenseMlp,
    GatedMlp,
    IdentityMlp,
    LinearMlp,
    RMSNorm,
    ScalableSoftmax,
    ZeroMlp,
)


def mlp_of(kind, dim=12, sigma=1.0):
    """An MLP by its short name; the other numbers where it has them."""
    return {
        "zero": ZeroMlp(),
        "identity": IdentityMlp(sigma=sigma),
        "linear": LinearMlp(),
        "gelu": DenseMlp(dim=dim),
        "gelu_exact": DenseMlp(activation="gelu_exact", dim=dim),
        "swiglu": GatedMlp(dim=dim),
        "geglu": GatedMlp(activation="gelu", dim=dim),
    }[kind]


@functools.cache
def shapes_of(config, dtype=jnp.float64):
    """The decoder without numbers."""
    return jax.eval_shape(lambda: Decoder(config, key=jax.random.key(0), dtype=dtype))


def made(config, key, dtype=jnp.float64):
    """Weights distributed as ``Decoder`` draws them: variance one over the input's width."""
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    offset = config.norm.offset if isinstance(config.norm, RMSNorm) else 0.0
    start = config.temperature.start if isinstance(config.temperature, ScalableSoftmax) else 0.0

    def draw(path, leaf):
        name = jax.tree_util.keystr(path)
        if "sharpness" in name or "gain" in name or "bias" in name:
            value = start if "sharpness" in name else 1 - offset if "gain" in name else 0.0
            return jnp.asarray(np.full(leaf.shape, value).astype(leaf.dtype))
        rows = rng.normal(size=leaf.shape) * leaf.shape[-1] ** -0.5
        return jnp.asarray(rows.astype(leaf.dtype))

    return jax.tree_util.tree_map_with_path(draw, shapes_of(config, jnp.dtype(dtype)))


@functools.partial(jax.jit, static_argnames="keep")
def passed(decoder, tokens, keep="attention"):
    """A pass over a sequence, compiled once for a configuration."""
    return decoder(tokens, keep=keep)
