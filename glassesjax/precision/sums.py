"""Sums whose running value is stored in a number format, in the orders that kernels add in."""

import dataclasses
from typing import Literal

from glassesjax.arrays import Array, Float
from glassesjax.borders import COUNT, border, check_fields, require
from glassesjax.precision.formats import FloatFormat

Order = Literal["sequential", "chunked", "pairwise", "split"]


@dataclasses.dataclass(frozen=True)
class Accumulator:
    """The format of a running sum and the order of its additions.

    Each addition is one of the carrier, the dtype of the terms, rounded to the format at once:
    ``fmt.round(sum + term)``. Terms are not rounded.
    """

    fmt: FloatFormat
    order: Order = "sequential"
    """``sequential``: from zero, first term to last. ``chunked``: ``size`` terms at a time are
    summed in the carrier, and only the sum of a chunk is added to the running sum. ``pairwise``: a
    balanced tree over the terms, padded with zeros to a power of two, two at least. ``split``:
    ``size`` contiguous parts of equal length (the last ones may be shorter), each sequential, and
    their sums again sequential."""
    size: int = 1
    """Terms of a chunk, or number of parts; 1 for the two orders that have no size."""

    def __post_init__(self) -> None:
        check_fields(self, size=COUNT)
        fits = self.size == 1 or self.order in ("chunked", "split")
        require(fits, f"size 1 of the order {self.order}", self.size, "use chunked or split")

    @property
    def name(self) -> str:
        """The format and the order, as named plans have them: ``bf16:chunked64``."""
        sized = self.order in ("chunked", "split")
        return f"{self.fmt.name}:{self.order}{self.size if sized else ''}"

    def blocks(self, length: int) -> tuple[int, int]:
        """How many blocks of how many terms a sum consists of; pairwise sums have none.

        Args:
          length: Number of terms.

        Returns:
          Number of blocks, and of terms in a block (a chunk, a part, or one term).
        """
        width = -(-length // self.size) if self.order == "split" else self.size
        return -(-length // max(width, 1)), max(width, 1)


@border()
def accumulate(terms: Float[Array, "*batch n"], how: Accumulator) -> Float[Array, "*batch"]:
    """Sum over the last axis with a running sum in a format.

    Within a chunk the carrier's additions go from the first term to the last, too. A running sum
    that overflows stays what the format makes of an overflow.

    Args:
      terms: float32 or float64, every value allowed.
      how: Format and order of the additions.

    Returns:
      Numbers of the format in the dtype of the terms; zero for no terms. The derivative is that of
      the exact sum (straight through).

    Raises:
      ValueError: The dtype of the terms does not hold the format.

    Example:
      >>> import jax.numpy as jnp
      >>> from glassesjax.precision import BF16
      >>> accumulate(jnp.ones(5000, jnp.float32), Accumulator(BF16))
      Array(256., dtype=float32)
    """
    from glassesjax.precision.running import running_sum

    return running_sum(how, terms)


@border()
def accumulated_product(
    subscripts: str, x: Float[Array, "..."], y: Float[Array, "..."], how: Accumulator
) -> Float[Array, "..."]:
    """Product of two arrays, as ``jnp.einsum``, with running sums in a format.

    No array of all terms is made: a scan runs over the contracted axis. Products and the sums
    within a chunk are the carrier's own. They are exact for operands of few bits; otherwise the
    backend chooses whether a product is rounded before it is added, and the order in a chunk.

    Args:
      subscripts: Letters of both operands and of the result, as ``td,fd->tf``; one letter is
        contracted, and none is repeated in an operand.
      x: float32 or float64.
      y: Of the same dtype.
      how: Format and order of the additions.

    Returns:
      Numbers of the format in the dtype of the operands. Derivatives are those of the exact product
      (straight through).

    Raises:
      ValueError: The dtype does not hold the format, or subscripts do not contract one axis.
    """
    from glassesjax.precision.running import running_product

    contracted_axis(subscripts)  # an error of the caller's, before anything is compiled
    return running_product(subscripts, how, x, y)


def contracted_axis(subscripts: str) -> str:
    """The one letter over which a product of two operands sums.

    Args:
      subscripts: As of ``accumulated_product``.

    Returns:
      The letter.

    Raises:
      BadInput: They are not of two operands, or not one axis is contracted.
    """
    operands, arrow, result = subscripts.partition("->")
    x, comma, y = operands.partition(",")
    summed = (set(x) | set(y)) - set(result)
    plain = all(part.isalpha() and len(set(part)) == len(part) for part in (x, y, result) if part)
    one = len(summed) == 1 and summed <= set(x) & set(y) and set(result) <= set(x) | set(y)
    expected = "subscripts of two operands with one contracted axis, as td,fd->tf"
    require(bool(arrow and comma and plain and one), expected, repr(subscripts), "write these")
    return summed.pop()
