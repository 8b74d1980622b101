"""Where the rows of a bounded run violate a statement that must hold."""

import math
from collections.abc import Iterator, Sequence

from glassesjax.files import Row
from glassesjax.report.fields import integer, measured
from glassesjax.runs.verdicts import unfinite
from glassesjax.studies.bounded.panels import panels

# Both sides are float sums of a few thousand terms.
SLACK = 1e-4
RELATIVE = "relative_l1"  # the norm in which rounding has a scale of its own
ROUNDOFF = {"float32": 2.0**-24, "float64": 2.0**-53}


def violations(rows: Sequence[Row]) -> list[str]:
    """What makes a run fail.

    Args:
      rows: Rows of the bounded study.

    Returns:
      One line where the unrounded pass is not finite, and one for each statement that must
      hold and does not.
    """
    return [*unfinite(row.get("finite") for row in rows), *statement_violations(rows)]


def coarsest(rows: Sequence[Row]) -> float:
    r"""What the resolution of a run may be at most, relative to a representation.

    .. math:: \min(1, L \cdot T \cdot d \cdot u)

    An error of one rounding for each term of the sums of a token's width and of all tokens, in each
    layer: where two computations differ by more, "equal" would say nothing.

    Args:
      rows: Of one model, in one arithmetic.

    Returns:
      A bound on ``resolution`` in relative L1.
    """
    row = rows[0]
    tokens = max(integer(row, "prompt_tokens") for row in rows) + 1
    sums = integer(row, "layers") * integer(row, "width") * tokens
    return min(1.0, sums * ROUNDOFF[str(row["dtype"])])


def _coarse(rows: Sequence[Row]) -> Iterator[str]:
    # Rows that are not finite are said to be so elsewhere; here they would pass for coarse.
    runs = [r for r in rows if r["kind"] == "collapse" and r.get("finite") is not False]
    for row in runs:
        resolution = measured(row, "resolution")
        limit = coarsest(runs) if row["norm"] == RELATIVE else math.inf
        if not (math.isfinite(resolution) and resolution <= limit):
            name = f"{row['policy']} at {row['slots']}, {row['positions']}, {row['family']}"
            yield f"{name}: the resolution in {row['norm']} is too coarse to call runs equal"


def statement_violations(rows: Sequence[Row]) -> Iterator[str]:
    """Where a statement that must hold does not.

    Args:
      rows: Rows of the bounded study.

    Yields:
      One line each.
    """
    yield from dict.fromkeys(_coarse(rows))
    for panel, mine in panels(rows, "collapse").items():
        for row in mine:
            least = row.get("equal_from") if row.get("finite") is not False else None
            if least is not None and integer(row, "length") >= int(least) and not row["equal"]:
                yield f"{panel.state}, {panel.positions}: runs of {row['length']} must be equal"
    for panel, mine in panels(rows, "influence").items():
        for row in mine:
            spectral, bound = measured(row, "spectral"), measured(row, "log10_repaired")
            over = math.log10(spectral or math.nan) - bound
            if over > SLACK:
                yield f"{panel.state}, {panel.positions}: the repaired bound is exceeded"
            if not row["reaches"] and measured(row, "frobenius") > 0:
                yield f"{panel.state}, {panel.positions}: a token without a path is heard"
