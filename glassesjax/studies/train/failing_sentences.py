"""Failing lengths in words and tables: predicted beside observed, never more than rows show."""

from collections.abc import Sequence

from glassesjax.files import Row
from glassesjax.report.markup import Markup, bullets, element, format_name, picture, table
from glassesjax.report.numbers import MISSING
from glassesjax.studies.train.failing_cells import (
    FACTOR,
    Failing,
    Slope,
    failing,
    slopes,
)
from glassesjax.studies.train.failing_figures import failing_figures

FAILING = {
    "confused": "One token is ranked first for n and for n + 1, where the right ones differ.",
    "failing length": "The least measured n from which on every measured pair is confused.",
    "predicted": "The median of the failing length, from a float64 pass and the format's noise at"
    " lengths of the training; its range holds nine in ten.",
    "noise": "Root mean square of what the format's rounding does to the lead of one right token"
    " over the other, over pairs of the training.",
}


def failing_headlines(rows: Sequence[Row]) -> list[str]:
    """What the rows say of failing lengths, a sentence each.

    Args:
      rows: Of one or more runs of the train study.

    Returns:
      Plain text; nothing where there are no pairs.
    """
    cells = failing(rows)
    said = [_refused(cell) for cell in _first_of_each(cells) if not cell.applies]
    told = [cell for cell in cells if cell.ratio is not None and not cell.is_wide]
    if told:
        near = [cell for cell in told if not cell.off]
        said.append(
            f"Failing lengths: {len(near)} of {len(told)} predictions lie within a factor of"
            f" {FACTOR:g} of what is observed."
        )
    said += [_off(cell) for cell in cells if cell.off]
    said += [_slope(slope) for slope in slopes(cells)]
    return said


def _first_of_each(cells: Sequence[Failing]) -> list[Failing]:
    first: dict[tuple[str, int], Failing] = {}
    for cell in cells:
        first.setdefault((cell.setting, cell.seed), cell)
    return list(first.values())


def _refused(cell: Failing) -> str:
    return f"{cell.setting}, seed {cell.seed}: not applicable, for {cell.row['why']}."


def _off(cell: Failing) -> str:
    told, seen = told_length(cell, "predicted"), told_length(cell, "observed")
    return (
        f"{cell.setting}, seed {cell.seed}: {cell.format} is predicted to fail from {told} on, and"
        f" fails from {seen} on."
    )


def _slope(slope: Slope) -> str:
    fit, places = slope.observed, f" of {slope.places}" if slope.places else ""
    if fit.points < 3:
        return f"{slope.setting}, seed {slope.seed}: too few failing lengths{places} for a slope."
    theory = (
        "; the change of the lead does not fall with n within the training"
        if slope.theory is None
        else f"; by theory {2**slope.theory:.3g} times, for a change of the lead that falls as n to"
        f" the power {-1 / slope.theory:.2g}"
    )
    return (
        f"{slope.setting}, seed {slope.seed}: a bit{places} takes the failing length"
        f" {2**fit.exponent:.2f} times as far ({fit.points} formats){theory}."
    )


def told_length(cell: Failing, name: str) -> str:
    """A length as text: with a sign where it is only a bound.

    Args:
      cell: Of ``failing``.
      name: Of the field.

    Returns:
      Such as 32, ≤ 2 or > 511.
    """
    found = cell.length(name)
    if found is None:
        return f"> {cell.length('reach')}"
    return f"≤ {found}" if found == cell.length("least") else str(found)


def failing_table(rows: Sequence[Row]) -> Markup:
    """Predicted beside observed, a line a decoder and format.

    Args:
      rows: Of one or more runs of the train study.

    Returns:
      A table; decoders of which nothing is predicted are left out.
    """
    heads = ["decoder", "format", "predicted", "its range", "observed", "ratio"]
    heads += ["certificate", "storage", "signal", "first failure predicted", "observed", "noise"]
    return table(heads, [_line(cell) for cell in failing(rows) if cell.applies])


def _line(cell: Failing) -> list[object]:
    told = lambda name: told_length(cell, name)
    unstored = cell.row["by_storage"] is None and not cell.row["stores"]
    ratio = MISSING if cell.ratio is None else f"{cell.ratio:.2f}"
    return [
        f"{cell.setting}, seed {cell.seed}",
        format_name(cell.format),
        told("predicted"),
        f"{told('predicted_low')} to {told('predicted_high')}",
        told("observed"),
        element("b", ratio) if cell.off else ratio,
        told("by_certificate"),
        MISSING if unstored else told("by_storage"),
        told("by_signal"),
        _first(cell, "predicted_first"),
        _first(cell, "first_failure"),
        MISSING if cell.row["noise"] is None else f"{cell.row['noise']:.3g}",
    ]


def _first(cell: Failing, name: str) -> str:
    found = cell.length(name)
    return MISSING if found is None else str(found)


def failing_section(rows: Sequence[Row]) -> Markup:
    """Table and figures of failing lengths; nothing where there are no pairs.

    Args:
      rows: Of one or more runs of the train study.

    Returns:
      A section of a page.
    """
    cells = failing(rows)
    if not cells:
        return Markup("")
    head = element("h2", "Where n and n + 1 are confused")
    said = bullets(failing_headlines(rows), "says")
    if not (figures := failing_figures(rows)):
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
        failing_table(rows),
        picture(figures["signals"], "signals", "Signal and noise against n", below),
    )
