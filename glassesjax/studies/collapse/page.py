"""The collapse page: rows and figures as one HTML file that needs nothing beside itself."""

from pathlib import PurePath

from glassesjax.report.document import document, glossary, origin
from glassesjax.report.markup import Markup, bullets, element, escape, fold, picture
from glassesjax.report.models import MODELS
from glassesjax.runs.constants import ModelConstants
from glassesjax.runs.run import Run
from glassesjax.studies.collapse import words
from glassesjax.studies.collapse.curves import Curves
from glassesjax.studies.collapse.figures import collapse_figure, equality_figure, family_title
from glassesjax.studies.collapse.overview import overview_figure
from glassesjax.studies.collapse.records import CollapseRow
from glassesjax.studies.collapse.sentences import family_sentences, headlines
from glassesjax.studies.collapse.summary import CollapseSummary, PanelSummary
from glassesjax.studies.collapse.tables import format_table, run_table, tiles
from glassesjax.tasks.sequences import FAMILIES


def collapse_page(run: Run[CollapseRow, ModelConstants], summary: CollapseSummary) -> str:
    """One self-contained page on a collapse run.

    Args:
      run: One that was cut off gives a page on what is there.
      summary: What it comes down to.

    Returns:
      An HTML document without scripts, links or outside resources. The same rows give the same
      text.
    """
    curves = Curves(run)
    sections = _by_family if len(curves.positions) == 1 else _by_positions
    body = element(
        "main",
        _header(curves, summary),
        tiles(summary),
        element("h2", "What the rows say"),
        bullets(headlines(summary), "says"),
        _overview(curves),
        *sections(curves, summary),
        glossary(words.GLOSSARY),
        _methods(curves),
        origin(run.settings, run.made),
        element("footer", "Made by glassesjax from the rows of this run; every number is theirs."),
    )
    title = f"Representational collapse in {_model(curves)}"
    return document(title, body)


def _model(curves: Curves) -> str:
    name = curves.constants.model
    return MODELS.get(name, PurePath(name).name)


def _header(curves: Curves, summary: CollapseSummary) -> Markup:
    extent = summary.extent
    counts = [f"{extent.families} families of runs", f"formats {', '.join(curves.formats)}"]
    if extent.encodings > 1:
        counts.insert(0, f"{extent.encodings} positional encodings")
    if extent.lengths > 1:
        span = f"n from {extent.first_length} to {extent.last_length}"
        counts.append(f"{span}, {extent.lengths} measured lengths")
    else:
        counts.append(f"n = {extent.first_length}")
    return element(
        "header",
        element("p", "glassesjax · collapse study", class_="kicker"),
        element("h1", f"Representational collapse in {_model(curves)}"),
        *(element("p", sentence, class_="lead") for sentence in words.LEAD),
        element("p", " · ".join(counts), class_="facts"),
    )


def _overview(curves: Curves) -> Markup:
    several = len(curves.positions) > 1
    grid = "a row per family of runs and a column per encoding" if several else "a panel per family"
    label = f"Signal against run length, {grid}"
    shown = picture(overview_figure(curves), "overview", label, words.OVERVIEW_CAPTION)
    return Markup(element("h2", "All runs at a glance") + shown)


def _by_family(curves: Curves, summary: CollapseSummary) -> list[Markup]:
    (positions,) = curves.positions
    title, meaning = words.POSITIONS.get(positions, (positions, ""))
    intro = element("p", f"Positions: {title}. {meaning}", class_="facts")
    return [intro, *(_family(curves, summary, positions, family) for family in curves.families)]


def _family(curves: Curves, summary: CollapseSummary, positions: str, family: str) -> Markup:
    lines = summary.select(positions=positions, family=family)
    if not lines:
        return Markup(element("h2", family_title(family)) + element("p", "Not measured."))
    here, name = f"{family_title(family)}: ", f"f{curves.families.index(family)}"
    drawn = collapse_figure(curves, positions, family)
    equal = equality_figure(curves, positions, family)
    drawn_label, equal_label = f"{here}distances against n", f"{here}equality after rounding"
    return element(
        "section",
        element("h2", family_title(family)),
        element("p", _meaning(family)),
        _hypothesis(lines[0]),
        bullets(family_sentences(summary, positions, family), "says"),
        picture(drawn, f"{name}-curves", drawn_label, words.CURVES_CAPTION),
        format_table(lines),
        picture(equal, f"{name}-equal", equal_label, words.EQUAL_CAPTION),
    )


def _meaning(family: str) -> str:
    return FAMILIES[family].meaning if family in FAMILIES else ""


def _hypothesis(line: PanelSummary) -> Markup:
    """Whether the theorem's hypothesis on the prompts was measured to hold."""
    if line.repeats_last == line.lengths:
        said, state = "The theorem's hypothesis on the prompts holds at every length", "all"
    elif line.repeats_last:
        count = f"{line.repeats_last} of {line.lengths} lengths only"
        said, state = f"The theorem's hypothesis on the prompts holds at {count}", "some"
    else:
        last = "the last tokens agree, but " if line.same_last else ""
        said, state = f"Outside the theorem: {last}the added token is not the last one", "none"
    return element("p", element("span", said, class_=f"holds {state}"))


def _by_positions(curves: Curves, summary: CollapseSummary) -> list[Markup]:
    whole = [_positions(curves, summary, name) for name in curves.positions]
    return [_families_told(curves, summary), *whole]


def _families_told(curves: Curves, summary: CollapseSummary) -> Markup:
    told = [
        part
        for family in curves.families
        for part in (
            element("dt", family_title(family)),
            element("dd", _meaning(family), " ", _hypothesis_of(summary, family)),
        )
    ]
    return Markup(element("h2", "The families of runs") + element("dl", *told))


def _hypothesis_of(summary: CollapseSummary, family: str) -> Markup:
    lines = summary.select(family=family)
    return _hypothesis(lines[0]) if lines else escape("")


def _positions(curves: Curves, summary: CollapseSummary, positions: str) -> Markup:
    title, meaning = words.POSITIONS.get(positions, (positions, ""))
    label = f"{title}: distances against run length, a row per family, a column per format"
    figure = collapse_figure(curves, positions)
    drawn = picture(figure, f"p-{positions}", label, words.CURVES_CAPTION)
    return element(
        "section",
        element("h2", title),
        element("p", meaning),
        bullets(headlines(summary.within(positions)), "says"),
        fold("Figure: every family and format", drawn),
        fold("Table: every family and format", run_table(summary.select(positions=positions))),
    )


def _methods(curves: Curves) -> Markup:
    weights = curves.constants.weights or ""
    four_bits = [words.FOUR_BITS.format(weights=weights)] if "q4" in weights.lower() else []
    said = bullets([*words.METHODS, *four_bits], "says")
    return element("section", element("h2", "Methods and caveats"), said)
