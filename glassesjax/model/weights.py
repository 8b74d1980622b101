"""Weights by name: what a decoder holds, and a decoder out of given arrays."""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array

from glassesjax import draws
from glassesjax.model.config import DecoderConfig
from glassesjax.model.decoder import Decoder


def flat_parameters(decoder: Decoder) -> dict[str, Array | jax.ShapeDtypeStruct]:
    """The weights by name, stacked over layers.

    Args:
      decoder: Any decoder, or its abstract twin from ``jax.eval_shape``.

    Returns:
      Names such as ``blocks.attention.query`` with arrays ``[layers, out, in]``.
    """
    leaves, _ = jax.tree_util.tree_flatten_with_path(decoder)
    return {_dotted(path): leaf for path, leaf in leaves}


def parameter_shapes(config: DecoderConfig) -> dict[str, tuple[int, ...]]:
    """The shapes of a decoder's weights, of which none is made.

    Args:
      config: Sizes and switches.

    Returns:
      Names as of ``flat_parameters``, with shapes.
    """
    return {name: leaf.shape for name, leaf in flat_parameters(_abstract(config)).items()}


def build_decoder(config: DecoderConfig, arrays: Mapping[str, ArrayLike]) -> Decoder:
    """A decoder with given weights.

    Args:
      config: Sizes and switches.
      arrays: One array for each name of ``flat_parameters``.

    Returns:
      The decoder; no weight is copied.

    Raises:
      ValueError: A weight is missing, unknown, or has another shape.
    """
    wanted = parameter_shapes(config)
    found = {name: jnp.shape(array) for name, array in arrays.items()}
    for name in sorted(wanted.keys() | found.keys()):
        shapes = wanted.get(name), found.get(name)
        if shapes[0] != shapes[1]:
            raise ValueError(f"Weight {name}: wanted shape {shapes[0]}, found {shapes[1]}.")
    leaves = [jnp.asarray(arrays[name]) for name in wanted]
    return jax.tree.unflatten(jax.tree.structure(_abstract(config)), leaves)


def _abstract(config: DecoderConfig) -> Decoder:
    make: Callable[[Array], Decoder] = lambda key: Decoder(config, key=key)
    return jax.eval_shape(make, draws.root_key(0))


def _dotted(path: tuple) -> str:
    # The last key is the field of nnx.Param that holds its array.
    return ".".join(str(getattr(key, "name", key)) for key in path[:-1])
