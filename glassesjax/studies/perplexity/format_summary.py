"""Summary of the formats of a perplexity run, each against the first on the same tokens."""

import dataclasses
import math

from glassesjax.precision.arithmetic import BACKEND
from glassesjax.runs.run import Run
from glassesjax.runs.verdicts import Passes, passes
from glassesjax.statistics.intervals import Interval
from glassesjax.studies.perplexity.records import PerplexityConstants, PerplexityRow
from glassesjax.studies.perplexity.totals import CellName, Totals, formats_of, ratio_of


@dataclasses.dataclass(frozen=True, kw_only=True)
class FormatCell:
    """One policy with one size of the cache, in one format."""

    cell: CellName
    perplexity: Interval
    """Infinite where float64 ends, or where a loss is not finite."""
    difference: Interval | None
    """Mean loss less that of the first format, in nats a token; None for the first itself, and
    where that has no such cell."""
    ratio: Interval | None
    """The same as a ratio of perplexities."""
    distinct: bool
    """Whether that interval leaves out that both are equal."""

    @property
    def finite(self) -> bool:
        """Whether there is a perplexity."""
        return math.isfinite(self.perplexity.value)


@dataclasses.dataclass(frozen=True, kw_only=True)
class FormatSummary:
    """One format, over what all formats, policies and sizes have read."""

    format: str
    passes: Passes
    """Of its segments; with the first overflow, where there is one."""
    cells: list[FormatCell]
    """In the order of the run."""

    def of(self, cell: tuple[str, int]) -> FormatCell | None:
        """The numbers of one policy and size; None where it was not measured in this format."""
        return next((each for each in self.cells if each.cell == cell), None)


def summarize_formats(run: Run[PerplexityRow, PerplexityConstants]) -> list[FormatSummary]:
    """Computes the summary of each format, in the order of the run.

    Raises:
      BadInput: There is no segment of the text that all have read.
    """
    first, formats, rounding = Totals(run), [], run.constants.rounding
    for name in formats_of(run):
        totals = Totals(run, name)
        rows = [row for row in run.rows if row.format == name]
        formats.append(
            FormatSummary(
                format=name or format_of(run),
                passes=passes(
                    (row.finite for row in rows),
                    rounding=rounding if name is None else "none" if name in BACKEND else name,
                    overflows=(row.overflow for row in rows),
                ),
                cells=[_cell(totals, first, cell, own=not formats) for cell in totals.cells],
            )
        )
    return formats


def format_of(run: Run[PerplexityRow, PerplexityConstants]) -> str:
    """The name of the format of a run of one."""
    names = run.settings.get("formats")
    return str(names[0]) if isinstance(names, list | tuple) and names else "f32"


def _cell(totals: Totals, first: Totals, cell: CellName, *, own: bool) -> FormatCell:
    gap = None if own or cell not in first else totals.against(cell, first)
    return FormatCell(
        cell=cell,
        perplexity=totals.perplexity(cell),
        difference=gap,
        ratio=gap and Interval(*map(ratio_of, gap)),
        distinct=gap is not None and gap.excludes(0.0),
    )
