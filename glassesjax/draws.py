"""Random draws that depend on the seed only, not on JAX's configuration.

Five settings of JAX change what a seed draws: the default implementation of keys, whether threefry
is partitionable, an offset to all seeds, how many bits a Gumbel variable takes, and 64-bit types.
All draws of the package go through this module, which depends on none of them. A user's key keeps
its implementation.
"""

import contextlib
import operator
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array

from glassesjax.errors import BadInput

IMPLEMENTATION = "threefry2x32"
"""Implementation of all keys that the package makes; its draws are the partitionable ones."""
SEEDS = 1 << 64


@contextlib.contextmanager
def reproducible() -> Iterator[None]:
    """Context or decorator that sets ``threefry_partitionable``, which is no argument of a draw.

    Operations traced inside keep the setting when they are compiled later.
    """
    with jax.threefry_partitionable(True):
        yield


def root_key(seed: int) -> Array:
    """The key of a seed.

    Args:
      seed: From 0 to 2^64 - 1. JAX itself drops the upper half if 64-bit types are off.

    Returns:
      A typed key of ``IMPLEMENTATION``.

    Raises:
      BadInput: The seed is outside this range, or no integer.
    """
    try:
        seed = operator.index(seed)
    except TypeError as error:
        raise BadInput(f"Expected a seed as a whole number, got {seed!r}: give one.") from error
    if not 0 <= seed < SEEDS:
        raise BadInput(f"Expected a seed from 0 to 2^64 - 1, got {seed}: choose another.")
    # The two halves are threefry's key; jax.random.key would add jax_random_seed_offset.
    halves = np.array([seed >> 32, seed & 0xFFFFFFFF], np.uint32)
    return wrap(halves, IMPLEMENTATION)


def implementation(key: Array) -> str:
    """Name of a key's implementation, for ``wrap`` and for rows.

    Args:
      key: One or many, also traced.

    Returns:
      A name that JAX knows.
    """
    return str(jax.random.key_impl(key))


def is_key(leaf: object) -> bool:
    """Whether a leaf of a pytree is an array of typed keys.

    Args:
      leaf: Leaf of any pytree.

    Returns:
      False for raw keys, which are arrays of numbers.
    """
    return isinstance(leaf, jax.Array) and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def numbers(key: Array) -> Array:
    """The raw data of keys (``jax.random.key_data``).

    Args:
      key: One or many.

    Returns:
      uint32, with a last axis for the numbers of each key.
    """
    return jax.random.key_data(key)


def wrap(data: ArrayLike, name: str) -> Array:
    """Typed keys from their raw data.

    Args:
      data: As returned by ``numbers``.
      name: Name of their implementation.

    Returns:
      Typed keys.
    """
    return jax.random.wrap_key_data(jnp.asarray(data), impl=name)


@reproducible()
def split(key: Array, count: int | tuple[int, ...] = 2) -> Array:
    """New keys from one key (``jax.random.split``).

    Args:
      key: The key, not to be used again.
      count: Number of keys, or the shape of an array of them.

    Returns:
      Keys on leading axes.
    """
    return jax.random.split(key, count)


@reproducible()
def fold_in(key: Array, number: ArrayLike) -> Array:
    """A new key from a key and a 32-bit number (``jax.random.fold_in``)."""
    return jax.random.fold_in(key, number)


@reproducible()
def normal(key: Array, shape: tuple[int, ...], dtype: Any) -> Array:  # noqa: ANN401
    """Standard normal numbers.

    Args:
      key: Of these draws alone.
      shape: Of the array.
      dtype: A float type.

    Returns:
      The array.
    """
    return jax.random.normal(key, shape, dtype)


@reproducible()
def uniform(key: Array, shape: tuple[int, ...], dtype: Any) -> Array:  # noqa: ANN401
    """Uniform numbers in [0, 1).

    Args:
      key: Of these draws alone.
      shape: Of the array.
      dtype: A float type.

    Returns:
      The array.
    """
    return jax.random.uniform(key, shape, dtype)


@reproducible()
def integers(key: Array, shape: tuple[int, ...], low: ArrayLike, high: ArrayLike) -> Array:
    """Uniform integers in [low, high).

    Args:
      key: Of these draws alone.
      shape: Of the array.
      low: The smallest.
      high: The largest plus one.

    Returns:
      int32.
    """
    return jax.random.randint(key, shape, low, high, jnp.int32)


@reproducible()
def bits(key: Array, shape: tuple[int, ...], dtype: Any) -> Array:  # noqa: ANN401
    """Uniform random bits.

    Args:
      key: Of these draws alone.
      shape: Of the array.
      dtype: An unsigned integer type.

    Returns:
      Integers, all patterns equally probable.
    """
    return jax.random.bits(key, shape, dtype)


def signs(key: Array, shape: tuple[int, ...], dtype: Any) -> Array:  # noqa: ANN401
    """Random signs, plus or minus one, independent of ``jax_enable_x64``.

    Args:
      key: Of these draws alone.
      shape: Of the array.
      dtype: Of the array.

    Returns:
      The array; that of ``jax.random.rademacher`` where 64-bit types are off.
    """
    plus = uniform(key, shape, jnp.float32) < 0.5
    return jnp.where(plus, 1, -1).astype(dtype)


@reproducible()
def categorical(key: Array, logits: Array) -> Array:
    """A sample from the categorical distribution of logits along the last axis.

    Args:
      key: Of this draw alone.
      logits: Along the last axis.

    Returns:
      int32.
    """
    return jax.random.categorical(key, logits, mode="low").astype(jnp.int32)


def over(function: Callable[..., Any], key: Array) -> Callable[..., Any]:
    """Maps a function over a leading axis so that the draws of a row do not depend on other rows.

    ``jax.vmap`` for threefry. Under other implementations (rbg) the draws of a row of a vmap depend
    on the batch, so ``jax.lax.map`` is used.

    Args:
      function: Function of one row.
      key: Any of the keys that it draws from, for the implementation.

    Returns:
      The function of arrays with a leading axis.
    """
    if implementation(key) == IMPLEMENTATION:
        return jax.vmap(function)
    return lambda *rows: jax.lax.map(lambda row: function(*row), rows)
