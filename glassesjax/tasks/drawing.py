"""Helpers of tasks: Bernoulli draws, and numbers as tokens."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from glassesjax import draws
from glassesjax.tasks.task import EOS


def nothing() -> Int[Array, " none"]:
    """The empty question, for a task with a single question.

    Returns:
      No tokens.
    """
    return jnp.zeros(0, jnp.int32)


def chance(key: Array, share: float, size: int) -> Bool[Array, " size"]:
    """Bernoulli draws that do not depend on ``jax_enable_x64``, unlike ``jax.random.bernoulli``.

    Args:
      key: Key of these draws alone.
      share: Probability of True, to within 2^-24.
      size: Number of draws.

    Returns:
      Independent truth values.
    """
    return draws.uniform(key, (size,), jnp.float32) < share


def digits_of(value: Int[Array, ""], width: int) -> tuple[Int[Array, " width"], Int[Array, ""]]:
    """A number in decimal digits, the most significant first, without leading zeros.

    Args:
      value: Not negative, of at most ``width`` digits.
      width: Maximum number of digits; at most 9.

    Returns:
      The digits, padded with zeros at the end; and their number.
    """
    powers = jnp.asarray([10**k for k in range(width)], value.dtype)
    count = jnp.maximum(jnp.sum(value >= powers, dtype=value.dtype), 1)
    # The exponent of each digit, negative beyond the last one: powers are exact integers.
    power = count - 1 - jnp.arange(width, dtype=value.dtype)
    digits = value // powers[jnp.maximum(power, 0)] % 10
    return jnp.where(power >= 0, digits, 0), count


def number(value: Int[Array, ""], most: int, symbols: tuple[str, ...]) -> tuple[Array, Array]:
    """A number as digit tokens and the end-of-sequence token.

    Args:
      value: Not negative, at most ``most``.
      most: The largest value.
      symbols: The vocabulary.

    Returns:
      Tokens, and how many of them are valid, the end-of-sequence token included.
    """
    width = len(str(most))
    digits, count = digits_of(value, width)
    index = jnp.arange(width + 1, dtype=jnp.int32)
    # A digit's place for the end mark: (width,) -> (width + 1,)
    tokens = jnp.append(digits, 0) + symbols.index("0")
    return jnp.where(index < count, tokens, symbols.index(EOS)).astype(jnp.int32), count + 1
