"""Failing lengths in words and tables: predicted beside observed, never more than rows show."""

import math
from collections.abc import Mapping, Sequence

from glassesjax.report.canvas import Figure
from glassesjax.report.markup import Markup, bullets, element, format_name, picture, table
from glassesjax.report.numbers import MISSING
from glassesjax.studies.train.failing_cells import FACTOR, Failing, Slope
from glassesjax.studies.train.records import FailureLengths, PairRow, RatioRow, RepetitionRow
from glassesjax.studies.train.summary import Contradiction, TrainSummary

FAILING = {
    "confused": "One token is ranked first for n and for n + 1, where the right ones differ.",
    "failing length": "The least measured n from which on every measured pair is confused.",
    "predicted": "The median of the failing length, from a float64 pass and the format's noise at"
    " lengths of the training; its range holds nine in ten.",
    "noise": "Root mean square of what the format's rounding does to the lead of one right token"
    " over the other, over pairs of the training.",
}


def failing_headlines(summary: TrainSummary) -> list[str]:
    """What the rows say of failure lengths, a sentence each.

    Args:
      summary: Of one or more trainings.

    Returns:
      Plain text; nothing where there are no pairs.
    """
    cells = failures_of(summary)
    said = [_refused(cell) for cell in _first_of_each(cells) if cell.lengths is None]
    near, compared = summary.predictions
    if compared:
        said.append(
            f"Failing lengths: {near} of {compared} predictions lie within a factor of"
            f" {FACTOR:g} of what is observed."
        )
    said += [_far_off(cell, cell.lengths) for cell in cells if cell.beyond_factor and cell.lengths]
    return said + [_slope(slope) for one in summary.trainings for slope in one.slopes]


def failures_of(summary: TrainSummary) -> list[Failing]:
    """Failure lengths of all trainings.

    Args:
      summary: Of one or more.

    Returns:
      One after the other.
    """
    return [cell for one in summary.trainings for cell in one.failures]


def _first_of_each(cells: Sequence[Failing]) -> list[Failing]:
    first: dict[tuple[str, int], Failing] = {}
    for cell in cells:
        first.setdefault((cell.setting, cell.seed), cell)
    return list(first.values())


def _refused(cell: Failing) -> str:
    return f"{cell.setting}, seed {cell.seed}: not applicable, for {_why(cell)}."


def _why(cell: Failing) -> str:
    if cell.wrong is None:
        return "no two lengths of the training are drawn alike and have different answers"
    wrong, count = cell.wrong.wrong_pairs, cell.wrong.training_pairs
    return f"in float64 {wrong} of {count} pairs of the training are wrong"


def _far_off(cell: Failing, lengths: FailureLengths) -> str:
    told, seen = (told_length(lengths, n) for n in (lengths.predicted, lengths.observed))
    return (
        f"{cell.setting}, seed {cell.seed}: {cell.format} is predicted to fail from {told} on, and"
        f" fails from {seen} on."
    )


def _slope(slope: Slope) -> str:
    fit, sites = slope.observed, f" of {slope.sites}" if slope.sites else ""
    if fit.points < 3:
        return f"{slope.setting}, seed {slope.seed}: too few failing lengths{sites} for a slope."
    theory = (
        "; the change of the lead does not fall with n within the training"
        if slope.theory is None
        else f"; by theory {slope.theory.factor:.3g} times, for a change of the lead that falls as"
        f" n to the power {slope.theory.signal_exponent:.2g}"
    )
    return (
        f"{slope.setting}, seed {slope.seed}: a bit{sites} takes the failing length"
        f" {fit.factor:.2f} times as far ({fit.points} formats){theory}."
    )


def told_length(lengths: FailureLengths, length: int | None) -> str:
    """A length as text: with a sign where it is only a bound.

    Args:
      lengths: Of one decoder in one format.
      length: One of these.

    Returns:
      Such as 32, ≤ 2 or > 511.
    """
    if length is None:
        return f"> {lengths.reach}"
    return f"≤ {length}" if length == lengths.least else str(length)


def failing_table(summary: TrainSummary) -> Markup:
    """Predicted beside observed, a line a decoder and format.

    Args:
      summary: Of one or more trainings.

    Returns:
      A table; decoders of which nothing is predicted are left out.
    """
    heads = ["decoder", "format", "predicted", "its range", "observed", "ratio"]
    heads += ["certificate", "storage", "signal", "first failure predicted", "observed", "noise"]
    cells = failures_of(summary)
    return table(heads, [_line(cell, cell.lengths) for cell in cells if cell.lengths])


def _line(cell: Failing, lengths: FailureLengths) -> list[object]:
    told = lambda length: told_length(lengths, length)
    ratio = MISSING if cell.ratio is None else f"{cell.ratio:.2f}"
    return [
        f"{cell.setting}, seed {cell.seed}",
        format_name(cell.format),
        told(lengths.predicted),
        f"{told(lengths.predicted_low)} to {told(lengths.predicted_high)}",
        told(lengths.observed),
        element("b", ratio) if cell.beyond_factor else ratio,
        told(lengths.by_certificate),
        told(lengths.by_storage) if lengths.stores else MISSING,
        told(lengths.by_signal),
        _first(lengths.predicted_first),
        _first(lengths.first_failure),
        MISSING if math.isnan(lengths.noise) else f"{lengths.noise:.3g}",
    ]


def _first(length: int | None) -> str:
    return MISSING if length is None else str(length)


def contradiction_line(contradiction: Contradiction) -> str:
    """What a row contradicts.

    Args:
      contradiction: Of a summary.

    Returns:
      One line.
    """
    decoder, row = contradiction
    match row:
        case PairRow():
            return f"{decoder}, {row.format}: a certificate is contradicted at n = {row.length}"
        case RepetitionRow():
            allowed = math.nan if row.roundoff is None else row.roundoff.roundoff
            return (
                f"{decoder}: repetitions of {row.length} tokens are {row.max_difference:.2g} apart,"
                f" where rounding allows {allowed:.2g}"
            )
        case RatioRow():
            return (
                f"{decoder}: {row.accuracy:.2%} of all items are counted, where a ratio gives"
                f" {row.ratio_only_accuracy:.2%} at best"
            )


def failing_section(summary: TrainSummary, figures: Mapping[str, Figure]) -> Markup:
    """Table and figures of failure lengths; nothing where there are no pairs.

    Args:
      summary: Of one or more trainings.
      figures: Of ``failing_figures``.

    Returns:
      A section of a page.
    """
    if not failures_of(summary):
        return Markup("")
    head = element("h2", "Where n and n + 1 are confused")
    said = bullets(failing_headlines(summary), "says")
    if not figures:
        return element("section", head, said)
    caption = (
        "Observed against predicted failing length; bars: nine in ten. Shaded: a factor of two."
        " Open markers: at or below the shortest, or beyond the longest measured pair."
    )
    below = (
        "Dots: how much the lead of one right token over the other changes from n to n + 1, in"
        " float64. Pale line: L2 distance of the two representations. Dashed: noise of each format,"
        " up to its failing length. Shaded: lengths of the training."
    )
    return element(
        "section",
        head,
        said,
        picture(figures["failing"], "failing", "Observed against predicted lengths", caption),
        failing_table(summary),
        picture(figures["signals"], "signals", "Signal and noise against n", below),
    )
