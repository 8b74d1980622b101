"""The sweep page: what every cell learned, and where it fails, in one HTML file."""

from collections.abc import Callable, Mapping
from typing import Any

from glassesjax.report.canvas import Figure
from glassesjax.report.document import document, glossary, origin
from glassesjax.report.markup import Markup, bullets, element, fold, format_name, picture, table
from glassesjax.report.numbers import MISSING
from glassesjax.runs.run import Run
from glassesjax.studies.train.cells import RIGHT
from glassesjax.studies.train.failing_cells import FACTOR
from glassesjax.studies.train.failing_sentences import FAILING, failing_section
from glassesjax.studies.train.heard_sentences import heard_section, ratio_section, words_of
from glassesjax.studies.train.page import GLOSSARY, failing_of
from glassesjax.studies.train.records import TrainRow
from glassesjax.studies.train.summary import FormatSummary
from glassesjax.surveys.sweep.records import SweepConstants
from glassesjax.surveys.sweep.summary import Shares, SweepSummary

LEAD = (
    "A grid of small decoders, each trained on a task whose exact answer is known, each asked far"
    " beyond the lengths of its training in several number formats.",
)
NOTHING_YET = "No cell is done yet: the process that finishes one writes this page again."


def headline(summary: SweepSummary) -> str:
    """The sweep in a line, its numbers first.

    Args:
      summary: Of the sweep.

    Returns:
      How many cells are done, what is right in distribution, and how predictions fared.
    """
    if not summary.cells_done:
        return NOTHING_YET
    parts = [*summary.passes.phrases(), f"{summary.cells_done} of {summary.cells} cells"]
    parts += [_range(shares) for shares in summary.shares]
    near, compared = summary.predictions
    if compared:
        parts.append(
            f"{near} of {compared} failure lengths predicted within a factor of {FACTOR:g}"
        )
    return "; ".join(parts)


def _range(shares: Shares) -> str:
    span = f"{shares.least:.1%}"
    span += "" if shares.least == shares.most else f" to {shares.most:.1%}"
    return f"{span} right in distribution in {shares.format}"


def _shares(summary: SweepSummary) -> list[str]:
    shares = lambda cell: ", ".join(
        f"{each.format} {each.in_distribution.mean:.1%}" for each in cell.formats
    )
    return [f"{cell.name}: right in distribution {shares(cell)}." for cell in summary.trainings]


def sweep_page(
    run: Run[TrainRow, SweepConstants], summary: SweepSummary, figures: Mapping[str, Figure]
) -> str:
    """One self-contained page on a sweep.

    Args:
      run: As read.
      summary: Its numbers.
      figures: By name; none where no cell is done.

    Returns:
      An HTML document without scripts, links or outside resources. The same rows give the same
      text.
    """
    title = "Where trained decoders fail"
    body = element(
        "main",
        _header(summary, title),
        *(_found(summary, figures) if summary.cells_done else ()),
        glossary({**GLOSSARY, **FAILING, **words_of(summary)}),
        origin(run.settings, _made(run)),
        element(
            "footer", "Made by glassesjax from the rows of these runs; every number is theirs."
        ),
    )
    return document(title, body)


def _made(run: Run[TrainRow, SweepConstants]) -> dict[str, Any]:
    """Where the rows were made, as far as it is the same for all cells."""
    first, *rest = [run.records[number] for number in dict.fromkeys(run.numbers)] or [{}]
    return {
        "command": run.provenance.get("command", ""),
        **{name: value for name, value in first.items() if all(r.get(name) == value for r in rest)},
    }


def _found(summary: SweepSummary, figures: Mapping[str, Figure]) -> tuple[Markup, ...]:
    """What stands between the header and the words."""
    return (
        failing_section(summary, failing_of(figures)),
        element("h2", "What was learned"),
        _learned(summary),
        element("h2", "How far it goes"),
        picture(
            figures["reaches"],
            "reaches",
            "Share of right answers against the length, a panel a cell, a line a format",
            "Share of right answers, the mean over seeds. Shaded: the lengths of the training.",
        ),
        fold("Table: the longest length that is learned", _reaches(summary)),
        heard_section(summary, figures.get("heard")),
        ratio_section(summary),
    )


def _header(summary: SweepSummary, title: str) -> Markup:
    counts = [f"{summary.cells_done} of {summary.cells} cells", f"{len(summary.formats)} formats"]
    few = summary.cells_done <= 4
    return element(
        "header",
        element("p", "glassesjax · sweep", class_="kicker"),
        element("h1", title),
        *(element("p", sentence, class_="lead") for sentence in LEAD),
        element("p", " · ".join(counts), class_="facts"),
        bullets(_shares(summary) or [NOTHING_YET], "says") if few else Markup(""),
    )


def _learned(summary: SweepSummary) -> Markup:
    told = element("p", "Right answers at lengths drawn as in the training, by format.")
    show = lambda each: f"{each.in_distribution.mean:.1%}"
    return element("section", told, _by_format(summary, show))


def _reaches(summary: SweepSummary) -> Markup:
    told = element("p", f"At least {RIGHT:.0%} right at every tested length up to this one.")
    return element("div", told, _by_format(summary, lambda each: each.reach or MISSING))


def _by_format(summary: SweepSummary, show: Callable[[FormatSummary], object]) -> Markup:
    lines = []
    for cell in summary.trainings:
        by_name = {each.format: each for each in cell.formats}
        shown = (show(by_name[n]) if n in by_name else MISSING for n in summary.formats)
        lines.append([cell.name, *shown])
    return table(["cell", *map(format_name, summary.formats)], lines)
