"""What the rows of a longform run say in plain sentences."""

import math

from glassesjax.report.numbers import percent
from glassesjax.studies.longform.summary import CellSummary, LongformSummary


def headline(summary: LongformSummary) -> str:
    """The run in a line, its numbers first.

    Args:
      summary: Of the run.

    Returns:
      How many texts end by themselves, by policy and size.
    """
    cells = [f"{cell.name} {cell.ended} of {cell.texts}" for cell in summary.cells]
    return "; ".join([*summary.passes.phrases("texts"), f"texts that end: {', '.join(cells)}"])


def longform_headlines(summary: LongformSummary) -> list[str]:
    """A sentence on each policy and size.

    Args:
      summary: Of the run.

    Returns:
      Plain text.
    """
    return [*summary.passes.sentences("texts"), *map(_cell, summary.cells)]


def _cell(cell: CellSummary) -> str:
    if cell.not_finite:
        return f"{cell.name}: not finite, in {cell.not_finite} of {cell.texts} texts."
    parts = [f"{cell.ended} of {cell.texts} texts end by themselves", f"{cell.length:.0f} tokens"]
    parts.append(f"{_share(cell.repetition)} of the 4-grams stood there before")
    parts.append(f"perplexity under the full model {one_decimal(cell.perplexity)}")
    if cell.bounded:
        same = f"the same as the full model's for {one_decimal(cell.common_prefix)} tokens"
        parts.append(same)
    return f"{cell.name}: {', '.join(parts)} (means over texts)."


def _share(value: float) -> str:
    return "an unknown share" if math.isnan(value) else percent(value)


def one_decimal(value: float) -> str:
    """A number with one decimal, or a word where there is none.

    Args:
      value: Any.

    Returns:
      Plain text.
    """
    return "unknown" if math.isnan(value) else f"{value:.1f}"
