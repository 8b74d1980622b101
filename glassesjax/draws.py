"""Random draws that mean the same in every process, whatever JAX is set to there.

Five settings of JAX change what a seed draws: the default implementation of keys, whether threefry
is partitionable, an offset to all seeds, how many bits a Gumbel variable takes, and 64-bit types.
All draws of the package go through this module, which reads none of them. A key of another
implementation that a user brings keeps it.
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
"""Of every key that the package makes itself; its draws are the partitionable ones."""
SEEDS = 1 << 64


@contextlib.contextmanager
def reproducible() -> Iterator[None]:
    """Holds the one setting that a draw cannot name; also a decorator.

    What is traced inside keeps it when it is compiled: JAX notes it with each operation.
    """
    with jax.threefry_partitionable(True):
        yield


def root_key(seed: int) -> Array:
    """The key of a seed.

    Args:
      seed: From 0 to 2^64 - 1. JAX itself drops the upper half where 64-bit types are off.

    Returns:
      A typed key of ``IMPLEMENTATION``.

    Raises:
      BadInput: The seed is outside this range, or no whole number.
    """
    try:
        seed = operator.index(seed)
    except TypeError as error:
        raise BadInput(f"Expected a seed as a whole number, got {seed!r}: give one.") from error
    if not 0 <= seed < SEEDS:
        raise BadInput(f"Expected a seed from 0 to 2^64 - 1, got {seed}: choose another.")
    halves = np.array([seed >> 32, seed & 0xFFFFFFFF], np.uint32)
    return wrap(halves, IMPLEMENTATION)


def implementation(key: Array) -> str:
    """Name of a key's implementation, for ``wrap`` and for rows.

    Args:
      key: One or many, also while they are traced.

    Returns:
      A name that JAX knows.
    """
    return str(jax.random.key_impl(key))


def is_key(leaf: object) -> bool:
    """Whether this is an array of typed keys.

    Args:
      leaf: Of any tree.

    Returns:
      False for raw keys, which are arrays of numbers.
    """
    return isinstance(leaf, jax.Array) and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def numbers(key: Array) -> Array:
    """The numbers that keys are made of.

    Args:
      key: One or many.

    Returns:
      uint32, with an axis for the numbers of each key at the end.
    """
    return jax.random.key_data(key)


def wrap(data: ArrayLike, name: str) -> Array:
    """Keys out of their numbers.

    Args:
      data: As ``numbers`` gives them.
      name: Of their implementation.

    Returns:
      Typed keys.
    """
    return jax.random.wrap_key_data(jnp.asarray(data), impl=name)


@reproducible()
def split(key: Array, count: int | tuple[int, ...] = 2) -> Array:
    """New keys out of one.

    Args:
      key: The key, not to be used again.
      count: How many, or the shape of an array of them.

    Returns:
      Keys on leading axes.
    """
    return jax.random.split(key, count)


@reproducible()
def fold_in(key: Array, number: ArrayLike) -> Array:
    """The key of a numbered part of what a key stands for.

    Args:
      key: Of the whole.
      number: Of the part, 32 bits.

    Returns:
      Its key.
    """
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
    """Numbers between 0 and 1, all alike, 1 left out.

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
    """Whole numbers, all alike.

    Args:
      key: Of these draws alone.
      shape: Of the array.
      low: The least.
      high: One over the largest.

    Returns:
      int32.
    """
    return jax.random.randint(key, shape, low, high, jnp.int32)


def signs(key: Array, shape: tuple[int, ...], dtype: Any) -> Array:  # noqa: ANN401
    """Plus or minus one, each half of the time, whether 64-bit types are on or not.

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
    """A number drawn from the distribution of some logits.

    Args:
      key: Of this draw alone.
      logits: Along the last axis.

    Returns:
      int32.
    """
    return jax.random.categorical(key, logits, mode="low").astype(jnp.int32)


def over(function: Callable[..., Any], key: Array) -> Callable[..., Any]:
    """A function over a leading axis, where each row draws as it does alone.

    ``jax.vmap`` does it for threefry. Under other implementations (rbg) the draws of a row would
    depend on the rows beside it, so that these are taken one by one.

    Args:
      function: Of one row.
      key: Any of the keys that it draws from.

    Returns:
      The function of arrays with a leading axis.
    """
    if implementation(key) == IMPLEMENTATION:
        return jax.vmap(function)
    return lambda *rows: jax.lax.map(lambda row: function(*row), rows)
