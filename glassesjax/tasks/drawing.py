"""What tasks draw their examples with: shares of chance, and numbers as tokens."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from glassesjax import draws
from glassesjax.tasks.task import EOS


def nothing() -> Int[Array, " none"]:
    """The question of a task that asks one thing only.

    Returns:
      No tokens.
    """
    return jnp.zeros(0, jnp.int32)


def chance(key: Array, share: float, size: int) -> Bool[Array, " size"]:
    """Draws that do not depend on whether 64-bit types are on, as JAX's own of that kind do.

    Args:
      key: Of these draws alone.
      share: How often True, to within 2^-24.
      size: How many.

    Returns:
      True or false, each on its own.
    """
    return draws.uniform(key, (size,), jnp.float32) < share


def digits_of(value: Int[Array, ""], width: int) -> tuple[Int[Array, " width"], Int[Array, ""]]:
    """A number in decimal digits, the most significant first, without leading zeros.

    Args:
      value: Not negative, of at most ``width`` digits.
      width: Most digits; at most 9.

    Returns:
      The digits, zeros after the last one; and how many there are.
    """
    powers = jnp.asarray([10**k for k in range(width)], value.dtype)
    count = jnp.maximum(jnp.sum(value >= powers, dtype=value.dtype), 1)
    place = count - 1 - jnp.arange(width, dtype=value.dtype)
    digits = value // powers[jnp.maximum(place, 0)] % 10
    return jnp.where(place >= 0, digits, 0), count


def number(value: Int[Array, ""], most: int, symbols: tuple[str, ...]) -> tuple[Array, Array]:
    """A number as tokens that end with the end-of-sequence mark.

    Args:
      value: Not negative, at most ``most``.
      most: The largest value.
      symbols: The vocabulary.

    Returns:
      Tokens, and how many of them count, the mark included.
    """
    width = len(str(most))
    digits, count = digits_of(value, width)
    place = jnp.arange(width + 1, dtype=jnp.int32)
    tokens = jnp.append(digits, 0) + symbols.index("0")
    return jnp.where(place < count, tokens, symbols.index(EOS)).astype(jnp.int32), count + 1
