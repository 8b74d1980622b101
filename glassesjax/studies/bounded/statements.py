"""Violations of statements in the rows of a bounded run."""

import math
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

from glassesjax.runs.run import Run
from glassesjax.studies.bounded.panels import Panel, distance_panels, token_panels
from glassesjax.studies.bounded.records import RESOLUTION, BoundedConstants, DistanceRow, TokenRow

# Both sides are float sums of a few thousand terms.
SLACK = 1e-4
RELATIVE = "relative_l1"  # the norm in which rounding has a scale of its own
ROUNDOFF = {"float32": 2.0**-24, "float64": 2.0**-53}


class Violation(NamedTuple):
    """A statement that must hold and does not."""

    panel: Panel
    reason: Literal["unequal", "exceeded", "without_path", "coarse"]
    """Runs that must be equal; a token above the repaired bound; one with influence and without a
    path; or a resolution too coarse to call runs equal."""
    length: int | None = None
    """Of the runs."""
    norm: str = ""
    """In which the resolution is coarse."""


def coarsest(rows: Sequence[DistanceRow], constants: BoundedConstants) -> float:
    r"""Upper bound on the resolution of a run, relative to a representation.

    .. math:: \min(1, 8 \cdot 2 \, L (m + 2 T) \, u)

    One rounding for each term of the sums behind a coordinate, relative to the representation: m in
    a layer, and T tokens twice, in the softmax and in the average; attention averages the errors of
    tokens and does not add them. Two computations differ by twice that, and a resolution is 8 times
    their difference; u is that of the coarsest format that the pass stores in. It presumes that no
    layer enlarges what enters it: where one does so much that the resolution is larger, "equal"
    would have no meaning, and the run is reported.

    Runs without ``layer_terms`` have :math:`\min(1, L \cdot T \cdot d \cdot u)`.

    Returns:
      A bound on ``resolution`` in relative L1.
    """
    tokens, terms = max(row.prompt_tokens for row in rows) + 1, constants.layer_terms
    if terms is None:
        sums = constants.num_layers * constants.model_dim * tokens
    else:
        sums = RESOLUTION * 2 * constants.num_layers * (terms + 2 * tokens)
    return min(1.0, sums * (constants.unit_roundoff or ROUNDOFF[constants.dtype]))


def statement_violations(run: Run[DistanceRow | TokenRow, BoundedConstants]) -> Iterator[Violation]:
    """Violations of statements that must hold."""
    # Rows that are not finite are reported elsewhere; here they would count as coarse.
    rows = [row for row in run.rows if isinstance(row, DistanceRow) and row.finite]
    # In other norms a resolution has no scale: it need only be finite.
    limits = {RELATIVE: coarsest(rows, run.constants)} if rows else {}
    coarse: dict[Violation, None] = {}  # each once, in the order of the rows
    for row in rows:
        limit = limits.get(row.norm, math.inf)
        if not (math.isfinite(row.resolution) and row.resolution <= limit):
            panel = Panel(row.positions, row.policy, row.slots, row.family)
            coarse[Violation(panel, "coarse", norm=row.norm)] = None
    yield from coarse
    for panel, mine in distance_panels(run.rows).items():
        for row in mine:
            must = row.finite and row.equal_from is not None and row.length >= row.equal_from
            if must and not row.equal:
                yield Violation(panel, "unequal", row.length)
    for panel, tokens in token_panels(run.rows).items():
        for row, _ in tokens:
            # Missing where norms are estimated; a norm of zero exceeds no bound.
            norm, log10_bound = row.spectral, row.log10_repaired
            if norm and log10_bound is not None and math.log10(norm) - log10_bound > SLACK:
                yield Violation(panel, "exceeded")
            if not row.reaches and row.frobenius > 0:
                yield Violation(panel, "without_path")
