"""A task: what is read, what is asked and the exact answer, drawn on device for any length."""

import dataclasses
import math
from collections.abc import Callable
from typing import Literal, NamedTuple

from glassesjax.arrays import Array, Float, Int
from glassesjax.borders import check_fields
from glassesjax.errors import BadInput
from glassesjax.settings import MOST, number_text
from glassesjax.tasks.sequences import BOS

PAD, EOS, ASK, STOP, SCRATCH = "<pad>", "<eos>", "?", "=", "."
DIGITS = tuple("0123456789")
# What every task's layout is made of; a task may have more. A separator is the comma.
COMMON = (PAD, BOS, EOS, ASK, STOP, SCRATCH, ",", *DIGITS)
NONE = -1  # of an index that points nowhere


class Parts(NamedTuple):
    """One example before it is laid out as a row of tokens."""

    item: Int[Array, " item"]
    """What is read; the first ``length`` tokens of it."""
    length: Int[Array, ""]
    question: Int[Array, " question"]
    """What is asked, all of it; empty where the task asks one thing only."""
    answer: Int[Array, " answer"]
    """The exact answer; the first ``answered`` tokens of it."""
    answered: Int[Array, ""]
    source: Int[Array, " answer"]
    """Which token of the item each token of the answer copies; -1 where it copies none."""
    running: Int[Array, " item"] | None = None
    """For a count: the answer if the item ended here. None for what is no count."""


class Widths(NamedTuple):
    """Tokens that the parts of an example have room for."""

    item: int
    question: int = 0
    answer: int = 1
    counts: bool = False
    """Whether a count runs along the item (``Parts.running``)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Task:
    """What a decoder is trained on."""

    name: str
    title: str
    meaning: str
    """One sentence: what is read, and what the answer is."""
    draw: Callable[[Array, Int[Array, ""], int], Parts]
    """From a key, a length and the largest length (static) to one example."""
    symbols: tuple[str, ...] = COMMON
    """The vocabulary; a token is an index into it."""
    least: int = 1
    """The smallest length that means something."""
    widths: Callable[[int], Widths] | None = None
    """From the largest length to the shapes of what ``draw`` makes, so that a setting is refused
    without JAX; if absent, ``draw`` is traced for them."""

    def token(self, symbol: str) -> int:
        """The number of a symbol of the vocabulary.

        Args:
          symbol: One of ``symbols``.

        Returns:
          Its index.
        """
        return self.symbols.index(symbol)


@dataclasses.dataclass(frozen=True, kw_only=True)
class LengthMix:
    """Which lengths are drawn how often: part of every result that is learned from them."""

    low: int
    high: int
    kind: Literal["uniform", "log"] = "uniform"
    """``uniform``: all alike. ``log``: n with probability log((n + 1) / n), up to a factor, so
    that each doubling of the length is as likely as the next."""

    def __post_init__(self) -> None:
        check_fields(self)
        if not 1 <= self.low <= self.high <= MOST:
            wanted = f"Wanted lengths (low, high) from 1 on up to {MOST}, the smallest first"
            raise BadInput(f"{wanted}; found {number_text(self.low)} to {number_text(self.high)}.")

    def draw(self, key: Array) -> Int[Array, ""]:
        """One length.

        Args:
          key: Of this draw alone.

        Returns:
          From ``low`` to ``high``.
        """
        import jax.numpy as jnp  # here: the mix is a setting, checked without JAX

        from glassesjax import draws

        if self.kind == "uniform":
            return draws.integers(key, (), self.low, self.high + 1)
        # The inverse of the distribution, as a table: no rounding of a logarithm can go wrong.
        below = jnp.cumsum(self.probabilities())[:-1]
        passed = jnp.sum(draws.uniform(key, (), below.dtype) >= below, dtype=jnp.int32)
        return self.low + passed

    def probabilities(self) -> Float[Array, " lengths"]:
        """How likely each length is.

        Returns:
          One number for each length from ``low`` to ``high``; their sum is one.
        """
        import jax.numpy as jnp

        count = self.high - self.low + 1
        if self.kind == "uniform":
            return jnp.full(count, 1 / count, jnp.float32)
        whole = math.log((self.high + 1) / self.low)
        each = [math.log1p(1 / n) / whole for n in range(self.low, self.high + 1)]
        return jnp.asarray(each, jnp.float32)
