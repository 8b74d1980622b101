"""Tasks: item, question and exact answer, drawn on device for any length."""

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
# Symbols of every task; a task may have more. The comma is the separator.
COMMON = (PAD, BOS, EOS, ASK, STOP, SCRATCH, ",", *DIGITS)
NONE = -1  # index of no token


class Parts(NamedTuple):
    """The parts of one example, before they are formatted as a row of tokens."""

    item: Int[Array, " item"]
    """The input; its first ``length`` tokens are valid."""
    length: Int[Array, ""]
    question: Int[Array, " question"]
    """The question; empty for a task with a single question."""
    answer: Int[Array, " answer"]
    """The exact answer; its first ``answered`` tokens are valid."""
    answered: Int[Array, ""]
    source: Int[Array, " answer"]
    """Index in the item of the token that each answer token copies; -1 where it copies none."""
    running: Int[Array, " item"] | None = None
    """Counting tasks: the answer if the item ended here. None for other tasks."""


class Widths(NamedTuple):
    """Maximum tokens of each part of an example."""

    item: int
    question: int = 0
    answer: int = 1
    counts: bool = False
    """Whether a count runs along the item (``Parts.running``)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Task:
    """A task on which decoders are trained."""

    name: str
    title: str
    meaning: str
    """One sentence: what is read, and what the answer is."""
    draw: Callable[[Array, Int[Array, ""], int], Parts]
    """From a key, a length and the largest length (static) to one example."""
    symbols: tuple[str, ...] = COMMON
    """The vocabulary; a token is an index into it."""
    least: int = 1
    """The smallest valid length."""
    widths: Callable[[int], Widths] | None = None
    """From the largest length to the widths of what ``draw`` returns, so that settings are
    validated without JAX; if absent, ``draw`` is traced for them."""

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
    """Distribution of training lengths."""

    low: int
    high: int
    kind: Literal["uniform", "log"] = "uniform"
    """``uniform``: all equal. ``log``: n with probability log((n + 1) / n), up to a factor, so
    that each doubling of the length is as likely as the next."""

    def __post_init__(self) -> None:
        check_fields(self)
        if not 1 <= self.low <= self.high <= MOST:
            expected = f"Expected lengths 1 <= low <= high <= {MOST}"
            got = f"got {number_text(self.low)} to {number_text(self.high)}"
            raise BadInput(f"{expected}, {got}: change one of them.")

    def draw(self, key: Array) -> Int[Array, ""]:
        """One random length from ``low`` to ``high``."""
        import jax.numpy as jnp  # here: the mix is a setting, checked without JAX

        from glassesjax import draws

        if self.kind == "uniform":
            return draws.integers(key, (), self.low, self.high + 1)
        # Inverse of the distribution function by a table, so that no logarithm is rounded.
        below = jnp.cumsum(self.probabilities())[:-1]
        passed = jnp.sum(draws.uniform(key, (), below.dtype) >= below, dtype=jnp.int32)
        return self.low + passed

    def probabilities(self) -> Float[Array, " lengths"]:
        """Probability of each length from ``low`` to ``high``; their sum is one."""
        import jax.numpy as jnp

        count = self.high - self.low + 1
        if self.kind == "uniform":
            return jnp.full(count, 1 / count, jnp.float32)
        # log((n + 1) / n) sums to this over n from low to high.
        whole = math.log((self.high + 1) / self.low)
        each = [math.log1p(1 / n) / whole for n in range(self.low, self.high + 1)]
        return jnp.asarray(each, jnp.float32)
