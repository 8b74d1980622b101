"""The sweep page: what every cell learned, and where it fails, in one HTML file."""

from collections.abc import Mapping, Sequence

from glassesjax.files import Row
from glassesjax.report.canvas import to_svg
from glassesjax.report.document import document, glossary, origin
from glassesjax.report.markup import Markup, bullets, element, fold, format_name, picture, table
from glassesjax.report.numbers import MISSING
from glassesjax.runs.fill import Files
from glassesjax.studies.train.cells import RIGHT, formats
from glassesjax.studies.train.failing_figures import failing_figures
from glassesjax.studies.train.failing_sentences import FAILING, failing_headlines, failing_section
from glassesjax.studies.train.heard_sentences import heard_section, ratio_section, words_of
from glassesjax.studies.train.page import GLOSSARY
from glassesjax.surveys.sweep.cells import Cell, cells
from glassesjax.surveys.sweep.figures import reaches_figure

LEAD = (
    "A grid of small decoders, each trained on a task whose exact answer is known, each asked far"
    " beyond the lengths of its training in several number formats.",
)
NOTHING_YET = "No cell is done yet: the process that finishes one writes this page again."


def sweep_files(
    rows: Sequence[Row], settings: Mapping[str, object], record: Mapping[str, object]
) -> Files:
    """The page and its figures.

    Args:
      rows: Of the sweep.
      settings: What fixes it, shown as it is.
      record: Where it was made.

    Returns:
      The text of each file by its path.
    """
    figures = {"reaches": reaches_figure(rows), **failing_figures(rows)} if rows else {}
    drawn = {f"figures/{stem}.svg": to_svg(figure, stem) for stem, figure in figures.items()}
    return {**drawn, "index.html": sweep_page(rows, settings, record)}


def sweep_headlines(rows: Sequence[Row]) -> list[str]:
    """What the rows say, a sentence a cell.

    Args:
      rows: Of the sweep.

    Returns:
      Sentences in plain text.
    """
    if not rows:
        return [NOTHING_YET]
    return [*_shares(rows), *failing_headlines(rows)]


def _shares(rows: Sequence[Row]) -> list[str]:
    shares = lambda cell: ", ".join(f"{name} {share:.1%}" for name, share in cell.learned)
    return [f"{cell.name}: right in distribution {shares(cell)}." for cell in cells(rows)]


def sweep_page(
    rows: Sequence[Row], settings: Mapping[str, object], record: Mapping[str, object]
) -> str:
    """One self-contained page on a sweep.

    Args:
      rows: Of the sweep.
      settings: What fixes it, shown as it is.
      record: Where it was made, shown as it is.

    Returns:
      An HTML document without scripts, links or outside resources. The same rows give the same
      text.
    """
    title = "Where trained decoders fail"
    body = element(
        "main",
        _header(rows, title, record),
        *(_found(rows) if rows else ()),
        glossary({**GLOSSARY, **FAILING, **words_of(rows)}),
        origin(settings, record),
        element(
            "footer", "Made by glassesjax from the rows of these runs; every number is theirs."
        ),
    )
    return document(title, body)


def _found(rows: Sequence[Row]) -> tuple[Markup, ...]:
    """What stands between the header and the words."""
    return (
        failing_section(rows),
        element("h2", "What was learned"),
        _learned(cells(rows), formats(rows)),
        element("h2", "How far it goes"),
        picture(
            reaches_figure(rows),
            "reaches",
            "Share of right answers against the length, a panel a cell, a line a format",
            "Share of right answers, the mean over seeds. Shaded: the lengths of the training.",
        ),
        fold("Table: the longest length that is learned", _reaches(cells(rows), formats(rows))),
        heard_section(rows),
        ratio_section(rows),
    )


def _header(rows: Sequence[Row], title: str, record: Mapping[str, object]) -> Markup:
    counts = [f"{record['cells']} cells", f"{len(formats(rows))} formats"]
    return element(
        "header",
        element("p", "glassesjax · sweep", class_="kicker"),
        element("h1", title),
        *(element("p", sentence, class_="lead") for sentence in LEAD),
        element("p", " · ".join(counts), class_="facts"),
        bullets(_shares(rows) or [NOTHING_YET], "says") if len(cells(rows)) <= 4 else Markup(""),
    )


def _learned(found: Sequence[Cell], names: Sequence[str]) -> Markup:
    told = element("p", "Right answers at lengths drawn as in the training, by format.")
    show = lambda cell, name: f"{dict(cell.learned)[name]:.1%}"
    return element("section", told, _by_format(found, names, show))


def _reaches(found: Sequence[Cell], names: Sequence[str]) -> Markup:
    told = element("p", f"At least {RIGHT:.0%} right at every tested length up to this one.")
    show = lambda cell, name: cell.reach[name] or MISSING
    return element("div", told, _by_format(found, names, show))


def _by_format(found: Sequence[Cell], names: Sequence[str], show) -> Markup:  # noqa: ANN001
    cell = lambda one, name: show(one, name) if name in dict(one.learned) else MISSING
    lines = [[one.name, *(cell(one, name) for name in names)] for one in found]
    return table(["cell", *map(format_name, names)], lines)
