"""Weights by name: those of a decoder, and a decoder from given arrays."""

import functools
import math
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array

from glassesjax import draws
from glassesjax.errors import brief
from glassesjax.model.by_layer import first_layer
from glassesjax.model.config import DecoderConfig
from glassesjax.model.decoder import Decoder


def flat_parameters(decoder: Decoder) -> dict[str, Array | jax.ShapeDtypeStruct]:
    """The weights by name, stacked over layers.

    Args:
      decoder: Any decoder, or its abstract value from ``jax.eval_shape``.

    Returns:
      Names such as ``blocks.attention.query`` with arrays ``[layers, out, in]``.
    """
    leaves, _ = jax.tree_util.tree_flatten_with_path(decoder)
    # The last key is the field of nnx.Param that holds its array.
    dotted = lambda path: ".".join(str(getattr(key, "name", key)) for key in path[:-1])
    return {dotted(path): leaf for path, leaf in leaves}


def parameter_shapes(config: DecoderConfig) -> dict[str, tuple[int, ...]]:
    """The shapes of a decoder's weights, without allocating any.

    Args:
      config: Sizes and switches.

    Returns:
      Names as of ``flat_parameters``, with shapes.
    """
    # One layer is enough, since all have equal shapes: (1, *shape) -> (layers, *shape).
    one = _shapes(first_layer(config))
    return {
        name: (config.num_layers, *shape[1:]) if name.startswith("blocks.") else shape
        for name, shape in one.items()
    }


def decoder_bytes(config: DecoderConfig, itemsize: int = 4) -> int:
    """Memory of a decoder's weights.

    Args:
      config: Sizes and switches.
      itemsize: Bytes of a number.

    Returns:
      Bytes.
    """
    return itemsize * sum(map(math.prod, parameter_shapes(config).values()))


def check_shapes(config: DecoderConfig, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Validates the shapes of a decoder's weights.

    Args:
      config: Sizes and switches.
      shapes: Of the weights by name.

    Raises:
      ValueError: A weight is missing, unknown, or has another shape.
    """
    wanted = parameter_shapes(config)
    for name in sorted(wanted.keys() | shapes.keys()):
        expected, got = wanted.get(name), shapes.get(name)
        if expected is None:
            raise ValueError(f"Expected weights of these settings, got also {brief(name)}.")
        if got != expected:
            raise ValueError(
                f"Expected weight {name} of shape {expected}, got {'none' if got is None else got}."
            )


def build_decoder(config: DecoderConfig, arrays: Mapping[str, ArrayLike]) -> Decoder:
    """Builds a decoder with given weights.

    Args:
      config: Sizes and switches.
      arrays: One array for each name of ``flat_parameters``.

    Returns:
      The decoder; no weight is copied.

    Raises:
      ValueError: A weight is missing, unknown, or has another shape.
    """
    check_shapes(config, {name: jnp.shape(array) for name, array in arrays.items()})
    # The order of leaves is that of the abstract decoder, whatever that of the arrays is.
    abstract = _abstract(config)
    leaves = [jnp.asarray(arrays[name]) for name in flat_parameters(abstract)]
    return jax.tree.unflatten(jax.tree.structure(abstract), leaves)


def _abstract(config: DecoderConfig) -> Decoder:
    make: Callable[[Array], Decoder] = lambda key: Decoder(config, key=key)
    return jax.eval_shape(make, draws.root_key(0))  # no weight is drawn


@functools.lru_cache(maxsize=1024)  # ten milliseconds; a sweep has many cells of one decoder
def _shapes(config: DecoderConfig) -> Mapping[str, tuple[int, ...]]:
    return {name: leaf.shape for name, leaf in flat_parameters(_abstract(config)).items()}
