"""Rows of a perplexity run, added up over what all policies read."""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from glassesjax.cache.policies import SHORT
from glassesjax.cache.readable import unstated_obstacle
from glassesjax.files import Row
from glassesjax.report.fields import integer
from glassesjax.statistics.intervals import Interval, paired_difference
from glassesjax.studies.perplexity.rows import block_tokens

FULL = "full"  # it forgets nothing, and has a size of its own


class Total(NamedTuple):
    """Some rows of one policy and size, added up."""

    tokens: int
    nll: float
    bytes: int
    seconds: float

    @property
    def perplexity(self) -> float:
        """The exponential of the mean loss; infinite where float64 ends, or where there is none."""
        mean = self.nll / self.tokens
        return math.exp(mean) if mean < 700 else math.inf

    @property
    def speed(self) -> float:
        """Tokens a second."""
        return self.tokens / self.seconds


class Totals:
    """A run by policy and size.

    Args:
      rows: Of the perplexity study, in any order; only stretches that all policies and sizes have
        read count, so that a run that was cut off compares the same tokens.

    Raises:
      ValueError: There is no stretch that all have read.
    """

    def __init__(self, rows: Sequence[Row]) -> None:
        mine = [row for row in rows if row.get("study") == "perplexity"]
        cells: dict[tuple[str, int], dict[tuple[int, int], Row]] = {}
        for row in mine:
            place = integer(row, "window"), integer(row, "start")
            cells.setdefault((str(row["policy"]), integer(row, "slots")), {})[place] = row
        read = [set(found) for found in cells.values()]
        common = set.intersection(*read) if read else set()
        if not common:
            raise ValueError("Wanted rows of the perplexity study with a stretch common to all.")
        self.places = sorted(common)
        self.left_out = len(set.union(*read)) - len(common)
        self._cells = cells
        self.first_row = next(row for row in mine)
        self.obstacle = _obstacle(self.first_row)
        self._differences: dict[frozenset[tuple[str, int]], Interval] = {}

    def __contains__(self, cell: tuple[str, int]) -> bool:
        return cell in self._cells

    def __call__(self, policy: str, slots: int) -> Total:
        """All that this policy read with so many slots."""
        return self._add(policy, slots, self.places)

    @property
    def full(self) -> Total | None:
        """Where nothing was forgotten, if that was measured."""
        return next((self(*cell) for cell in self._cells if cell[0] == FULL), None)

    @property
    def slots(self) -> list[int]:
        """Sizes of the state, ascending; not that of a full one."""
        return sorted({slots for name, slots in self._cells if name != FULL})

    @property
    def policies(self) -> list[str]:
        """All but full, in the order of the rows."""
        return list(dict.fromkeys(name for name, _ in self._cells if name != FULL))

    @property
    def bounded(self) -> list[str]:
        """Policies that decide what to forget: neither full nor short."""
        return [name for name in self.policies if name != SHORT]

    @property
    def window_tokens(self) -> int:
        """Length of a window, or of the book."""
        return integer(self.first_row, "window_tokens")

    @property
    def tokens(self) -> int:
        """How many tokens each policy was scored on."""
        return self._add(*next(iter(self._cells)), self.places).tokens

    def here(self, slots: int) -> list[str]:
        """Deciding policies that were measured at that size, in the order of the rows."""
        return [name for name in self.bounded if (name, slots) in self]

    @property
    def blocks(self) -> int:
        """How many blocks of the text all have read; 0 where rows do not have their losses."""
        losses = self._blocks(next(iter(self._cells)))
        return 0 if losses is None else len(losses[0])

    def difference(self, first: tuple[str, int], second: tuple[str, int]) -> Interval:
        """Mean loss of one less that of another, in nats a token, over the blocks of the text.

        The interval's ends are NaN where the rows have no losses by block, where there are too few,
        or where nothing can be ranked.
        """
        pair = frozenset((first, second))
        if pair not in self._differences:
            self._differences[pair] = self._difference(*sorted(pair))
        found = self._differences[pair]
        return found if (first, second) == tuple(sorted(pair)) else found.turned

    def _difference(self, first: tuple[str, int], second: tuple[str, int]) -> Interval:
        own, other = self._blocks(first), self._blocks(second)
        if own is None or other is None or self.obstacle:
            each = [self(*cell) for cell in (first, second)]
            gap = each[0].nll / each[0].tokens - each[1].nll / each[1].tokens
            return Interval(gap, math.nan, math.nan)
        return paired_difference(own[0], other[0], own[1])

    def _blocks(self, cell: tuple[str, int]) -> tuple[np.ndarray, np.ndarray] | None:
        """Losses and tokens of each block of the text, in order."""
        losses: list[float] = []
        tokens: list[int] = []
        for place in self.places:
            row = self._cells[cell][place]
            if not row.get("block_losses"):
                return None
            losses += map(float, str(row["block_losses"]).split(","))
            tokens += block_tokens(integer(row, "start"), integer(row, "tokens"))
        return np.array(losses), np.array(tokens, np.float64)

    def by_position(self, policy: str, slots: int) -> list[tuple[int, Total]]:
        """Totals by where in its window a stretch begins."""
        starts = sorted({start for _, start in self.places})
        of = lambda start: [place for place in self.places if place[1] == start]
        return [(start, self._add(policy, slots, of(start))) for start in starts]

    def full_cell(self) -> tuple[str, int] | None:
        """The key of what forgets nothing, if it was measured."""
        return next((cell for cell in self._cells if cell[0] == FULL), None)

    def _add(self, policy: str, slots: int, places: Iterable[tuple[int, int]]) -> Total:
        rows = [self._cells[policy, slots][place] for place in places]
        number = lambda row, name: math.nan if row[name] is None else float(row[name])
        tokens = sum(integer(row, "tokens") for row in rows)
        seconds = sum(number(row, "tokens") / number(row, "tokens_per_second") for row in rows)
        nll = math.fsum(number(row, "nll") for row in rows)
        return Total(tokens, nll, integer(rows[0], "bytes"), seconds)


def _obstacle(row: Row) -> str:
    """Why policies cannot be ranked by a run, of one of its rows; empty where they can."""
    if "ranking_obstacle" in row:
        return str(row["ranking_obstacle"] or "")
    return unstated_obstacle(row.get("text"), row.get("model"))  # rows of before they said it
