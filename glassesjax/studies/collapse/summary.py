"""Summary of a collapse run."""

import dataclasses
import statistics
from collections.abc import Sequence

from glassesjax.report.points import Point
from glassesjax.runs.constants import ModelConstants
from glassesjax.runs.overflow_fields import OverflowFields
from glassesjax.runs.run import Run
from glassesjax.runs.verdicts import Passes, passes
from glassesjax.studies.collapse.curves import Curves, Panel, finite, holds_from
from glassesjax.studies.collapse.fits import has_exponent, is_flat
from glassesjax.studies.collapse.records import CollapseRow, Inequality, LayerBounds
from glassesjax.trace.decay import DecayFit


@dataclasses.dataclass(frozen=True, kw_only=True)
class PanelSummary:
    """One family under one encoding in one format; ``last`` is the longest measured length."""

    panel: Panel
    mode: str
    """Whether the format's own arithmetic was native or simulated; empty where there is none."""
    unit_roundoff: float
    signal: list[Point]
    """The relative L1 distance in reference precision."""
    lengths: int
    """At how many lengths."""
    unfinite: int
    """At how many of them it is not finite: neither equal nor different."""
    repeats_last: int
    """At how many the longer prompt is the shorter one with its last token repeated."""
    same_last: bool
    """Whether both prompts end with the same token at all of them."""
    text_round_trips: int | None
    """At how many the model's tokenizer makes these tokens of the prompts' texts; None in rows of
    before it was recorded."""
    token_characters: float | None
    """Characters of a prompt's text for each token, at the last length; None likewise."""
    own_at_last: float | None
    """The same in the format's own arithmetic, at the last length; None where it is not finite."""
    noise_at_last: float | None
    """The error of the format's own arithmetic in the difference, at the last length."""
    times_error_at_last: float | None
    """The distance over that error; None where there is none, or the two are equal."""
    detection: list[tuple[int, bool | None]]
    """For each length whether the difference is detectable in the format's own arithmetic; None
    where the two are equal, or a number is not finite."""
    undetectable_from: int | None
    """From here on the difference is not detectable, at each measured length."""
    stored: bool
    """Whether the format stores representations: a plan need not."""
    equal: int | None
    """Coordinates that are equal at the last length after rounding; None where some are NaN, and
    where nothing is stored."""
    overflow_from: int | None
    """The first length at which the format's own arithmetic is not finite; None where there is
    none, or it is not known where it overflows."""
    overflow: OverflowFields | None
    """Where it overflows first there."""
    model_dim: int
    ulp: list[Point]
    """The signal's largest coordinate difference, in steps of the format."""
    token: str | None
    """The greedy token after the longest shorter prompt; like margin and certificate, in reference
    precision."""
    margin: float | None
    certified_from: int | None
    """From here on the certificate holds at each measured length."""
    fit: DecayFit
    """The decay of the resolved signal with length."""
    ratio: float | None
    """The last resolved distance over the first; None where there are no two."""
    layer_bounds: LayerBounds | None
    """Theorem 4.2 of the layers at the last length; None where it is about other prompts, in all
    but the finest format, and in rows of before it was recorded."""

    @property
    def last(self) -> int:
        """The longest measured length."""
        return self.signal[-1].length

    @property
    def detectable(self) -> bool | None:
        """Whether the difference is detectable at the longest length; None where it is unknown."""
        return self.detection[-1][1] if self.detection else None

    @property
    def resolved(self) -> list[Point]:
        """The signal where it is positive and not rounding of reference precision."""
        return [point for point in self.signal if point.drawable]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReferenceSummary:
    """All families and encodings in reference precision, each in the finest measured format."""

    runs: int
    """Families times encodings that were measured."""
    pairs: int
    """Measured pairs of prompts, over all of them."""
    pairs_not_finite: int
    nearer: int
    """Runs whose last distance is less than half the first."""
    furthest: Panel | None
    """The run with the smallest ratio of the last distance to the first."""
    equal: list[Panel]
    """Runs that are equal at every length, to within the rounding of reference precision."""
    num_equal: int
    """How many there are."""
    power_laws: list[Panel]
    """Runs with a power law that is read from a stable tail, steepest first."""
    num_power_laws: int
    """How many there are."""
    tail_first: int | None
    """Shortest length of these tails."""
    tail_last: int | None
    """Longest one."""
    certified: list[Panel]
    """Runs whose greedy token cannot change at the longest length, earliest certified first."""
    num_certified: int
    """How many there are."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class FormatSummary:
    """All families and encodings in one format, at the longest length."""

    format: str
    runs: int
    differing: int
    """Runs whose prompts differ at the longest length, by finite numbers: something to detect."""
    undetectable: list[Panel]
    """Those of them that are not detectable, earliest first."""
    num_undetectable: int
    """How many there are."""
    num_detectable: int
    """Those of ``differing`` that are left: detectable at the longest length."""
    equal_least: int | None
    """Equal coordinates after rounding, in the run with the fewest."""
    equal_most: int | None
    equal_median: float | None
    """Their share, in the median run."""
    not_finite: int
    """Runs that are stored and have no count of equal coordinates."""
    num_overflowed: int
    """Runs in which the format's own arithmetic overflows at some length, so far as is known."""
    overflow: OverflowFields | None
    """Where the first of them does so."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class EncodingSummary:
    """All families under one positional encoding."""

    positions: str
    reference: ReferenceSummary
    formats: list[FormatSummary]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Exceeded:
    """A family whose layers exceed an inequality of Theorem 4.2 by more than rounding."""

    panel: Panel
    inequalities: tuple[Inequality, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Extent:
    """What was measured."""

    encodings: int
    """Positional encodings."""
    families: int
    """Families of runs."""
    formats: int
    """Number formats."""
    lengths: int
    """Run lengths."""
    first_length: int
    """The shortest of them."""
    last_length: int
    """The longest."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class CollapseSummary:
    """Summary of a collapse run."""

    passes: Passes
    """Of the unrounded weights."""
    extent: Extent
    panels: list[PanelSummary]
    """In the order of the run."""
    reference: ReferenceSummary
    formats: list[FormatSummary]
    encodings: list[EncodingSummary]
    """``reference`` and ``formats`` of each encoding by itself; none where there is but one."""
    reference_dtype: str
    """Of reference precision: float64, or float32 where the backend has no float64."""
    finest_format: str
    """The measured format with the smallest unit roundoff."""
    worst_format: str | None
    """The one in which most differences are not detectable, of several the coarsest; None where no
    format has arithmetic of its own in which two prompts differ."""
    smallest_distance: float | None
    """The smallest distance that is told from zero, over all panels; None where there is none."""
    violations: list[Exceeded]
    """Where Theorem 4.2 or this program is wrong."""

    @property
    def worst(self) -> FormatSummary | None:
        """The numbers of ``worst_format``."""
        return next((each for each in self.formats if each.format == self.worst_format), None)

    @property
    def overflowed(self) -> list[FormatSummary]:
        """Formats whose own arithmetic overflows in some run."""
        return [each for each in self.formats if each.num_overflowed]

    @property
    def clear(self) -> list[str]:
        """Formats in which every difference is detectable at the longest length; some differ."""
        return [e.format for e in self.formats if e.differing and not e.num_undetectable]

    def of(self, panel: Panel) -> PanelSummary:
        """The numbers of one panel."""
        return next(each for each in self.panels if each.panel == panel)

    def select(
        self, *, positions: str = "", family: str = "", format: str = ""
    ) -> list[PanelSummary]:
        """The panels with the names given.

        Args:
          positions: An encoding; all if it is empty.
          family: Likewise.
          format: Likewise.
        """
        wanted = Panel(positions, family, format)
        fits = lambda panel: all(want in ("", has) for want, has in zip(wanted, panel, strict=True))
        return [each for each in self.panels if fits(each.panel)]

    def within(self, positions: str) -> "CollapseSummary":
        """The summary restricted to one encoding.

        Returns:
          The same numbers, over this encoding's panels.
        """
        (own,) = [each for each in self.encodings if each.positions == positions]
        panels = self.select(positions=positions)
        shown = {"panels": panels, "reference": own.reference, "formats": own.formats}
        return dataclasses.replace(self, **shown, encodings=[])


def summarize(run: Run[CollapseRow, ModelConstants]) -> CollapseSummary:
    """Computes the summary of a run.

    Args:
      run: Of the collapse study, with at least one row.
    """
    curves = Curves(run)
    panels = [_panel(curves, panel) for panel in curves.panels()]
    by_encoding = {
        name: [each for each in panels if each.panel.positions == name]
        for name in (curves.positions if len(curves.positions) > 1 else ())
    }
    formats = _formats(panels)
    roundoff = {each.panel.format: each.unit_roundoff for each in panels}
    worst = max(
        (each for each in formats if each.differing),
        key=lambda each: (each.num_undetectable, roundoff[each.format]),  # of several the coarsest
        default=None,
    )
    return CollapseSummary(
        passes=passes(row.finite for row in run.rows),
        extent=Extent(
            encodings=len(curves.positions),
            families=len(curves.families),
            formats=len(curves.formats),
            lengths=len(curves.lengths),
            first_length=curves.lengths[0],
            last_length=curves.lengths[-1],
        ),
        panels=panels,
        reference=_reference(finest(panels)),
        formats=formats,
        encodings=[
            EncodingSummary(
                positions=name, reference=_reference(finest(mine)), formats=_formats(mine)
            )
            for name, mine in by_encoding.items()
        ],
        # A run that was continued on another machine may have both: then the coarser is named.
        reference_dtype=min(row.dtype for row in run.rows if row.mode == "reference"),
        finest_format=min(panels, key=lambda each: each.unit_roundoff).panel.format,
        worst_format=worst.format if worst else None,
        smallest_distance=min(
            (p.distance for each in panels for p in each.resolved if p.distance), default=None
        ),
        violations=[
            Exceeded(panel=each.panel, inequalities=each.layer_bounds.exceeded)
            for each in panels
            if each.layer_bounds and each.layer_bounds.exceeded
        ],
    )


def finest(panels: Sequence[PanelSummary]) -> list[PanelSummary]:
    """Of each family and encoding the panel with the smallest unit roundoff.

    Its weights are changed least.

    Returns:
      One for each family and encoding, in the order of the run.
    """
    best: dict[tuple[str, str], PanelSummary] = {}  # of equal ones the first
    for each in panels:
        known = best.setdefault((each.panel.positions, each.panel.family), each)
        if each.unit_roundoff < known.unit_roundoff:
            best[each.panel.positions, each.panel.family] = each
    return list(best.values())


def _panel(curves: Curves, panel: Panel) -> PanelSummary:
    answers, rounded = curves(panel, "signal", "l2"), curves(panel, "rounded")
    # The signal is in reference precision, ``own`` in the format's own arithmetic.
    rows, signal = curves(panel, "signal"), curves.points(panel, "signal")
    own, noise = curves(panel, "own"), curves.noise(panel)
    detections = [(row.length, row.detection) for row in curves(panel, "own", "l2")]
    detection = [(n, each.detectable if each else None) for n, each in detections]
    certified = [
        (row.length, row.certificate is not None and row.certificate.certified) for row in answers
    ]
    answer = answers[-1].answer if answers else None
    # Positive, so that the last over the first is a number.
    resolved = [point.distance for point in signal if point.drawable and point.distance]
    # Where a coordinate is not finite there is no count.
    last = rounded[-1] if rounded and finite(rounded[-1].distance) is not None else None
    overflow_from, overflow = curves.overflow(panel)
    texts = [row.prompt_text for row in rows if row.prompt_text is not None]
    return PanelSummary(
        panel=panel,
        mode=curves.mode(panel),
        unit_roundoff=rows[0].unit_roundoff,
        signal=signal,
        lengths=len(signal),
        unfinite=sum(point.distance is None for point in signal),
        repeats_last=sum(row.repeats_last for row in rows),
        same_last=all(row.same_last for row in rows),
        text_round_trips=sum(text.text_round_trips for text in texts) if texts else None,
        token_characters=texts[-1].token_characters if texts else None,
        own_at_last=finite(own[-1].distance) if own else None,
        noise_at_last=noise[-1].distance if noise else None,
        times_error_at_last=times_error(signal[-1], noise[-1]) if signal and noise else None,
        detection=detection,
        undetectable_from=holds_from([(n, seen is False) for n, seen in detection]),
        stored=curves.stored(panel),
        equal=last.equal_coordinates if last else None,
        overflow_from=overflow_from,
        overflow=overflow,
        model_dim=curves.constants.model_dim,
        ulp=curves.points(panel, "signal", "ulp"),
        token=answer.token_text if answer else None,
        margin=finite(answer.margin) if answer else None,
        certified_from=holds_from(certified),
        fit=curves.fit(panel),
        ratio=resolved[-1] / resolved[0] if len(resolved) > 1 else None,
        layer_bounds=next((row.layer_bounds for row in curves(panel, "signal", "l1")[-1:]), None),
    )


def times_error(distance: Point, error: Point) -> float | None:
    """A distance over an error.

    Args:
      distance: At some length.
      error: At the same.

    Returns:
      The ratio; None where one of the two has no logarithm.
    """
    if not distance.drawable or not distance.distance or not error.distance:
        return None
    return distance.distance / error.distance


def _reference(panels: Sequence[PanelSummary]) -> ReferenceSummary:
    ratios = {each.panel: each.ratio for each in panels if each.ratio is not None}
    laws = [each for each in panels if has_exponent(each.fit) and not is_flat(each.fit)]
    sure = [each for each in panels if each.certified_from is not None]
    # Nothing resolved at any length, and not for want of finite numbers.
    equal = [each.panel for each in panels if not each.resolved and not each.unfinite]
    return ReferenceSummary(
        runs=len(panels),
        pairs=sum(len(each.signal) for each in panels),
        pairs_not_finite=sum(each.unfinite for each in panels),
        nearer=sum(ratio < 0.5 for ratio in ratios.values()),
        furthest=min(ratios, key=lambda panel: ratios[panel], default=None),
        equal=equal,
        num_equal=len(equal),
        power_laws=[each.panel for each in sorted(laws, key=lambda each: each.fit.exponent)],
        num_power_laws=len(laws),
        tail_first=min((each.fit.first for each in laws), default=None),
        tail_last=max((each.fit.last for each in laws), default=None),
        certified=[each.panel for each in sorted(sure, key=lambda each: each.certified_from or 0)],
        num_certified=len(sure),
    )


def _formats(panels: Sequence[PanelSummary]) -> list[FormatSummary]:
    formats = []
    for name in dict.fromkeys(each.panel.format for each in panels):
        mine = [each for each in panels if each.panel.format == name]
        # Where the two are equal or a number is not finite there is nothing to detect.
        differing = [each for each in mine if each.detectable is not None]
        lost = [each for each in differing if each.undetectable_from is not None]
        lost = sorted(lost, key=lambda each: each.undetectable_from or 0)
        equal = sorted((each.equal, each.model_dim) for each in mine if each.equal is not None)
        shares = [count / width for count, width in equal]
        overflows = [each.overflow for each in mine if each.overflow is not None]
        formats.append(
            FormatSummary(
                format=name,
                runs=len(mine),
                differing=len(differing),
                undetectable=[each.panel for each in lost],
                num_undetectable=len(lost),
                num_detectable=len(differing) - len(lost),
                equal_least=equal[0][0] if equal else None,
                equal_most=equal[-1][0] if equal else None,
                equal_median=statistics.median(shares) if equal else None,
                not_finite=sum(each.stored for each in mine) - len(equal),
                num_overflowed=len(overflows),
                overflow=next(iter(overflows), None),
            )
        )
    return formats
