"""The collapse page: rows and figures as one HTML file that needs nothing beside itself."""

from collections.abc import Mapping, Sequence
from pathlib import PurePath

from glassesjax.files import Row
from glassesjax.report.document import document, glossary, origin, weights_of
from glassesjax.report.markup import Markup, bullets, element, escape, fold, picture
from glassesjax.report.models import MODELS
from glassesjax.studies.collapse import words
from glassesjax.studies.collapse.curves import Curves
from glassesjax.studies.collapse.figures import collapse_figure, equality_figure, family_title
from glassesjax.studies.collapse.overview import overview_figure
from glassesjax.studies.collapse.sentences import family_sentences, headlines
from glassesjax.studies.collapse.summary import Summary, summarize
from glassesjax.studies.collapse.tables import format_table, run_table, tiles
from glassesjax.tasks.sequences import FAMILIES


def collapse_page(
    rows: Sequence[Row], settings: Mapping[str, object], provenance: Mapping[str, object]
) -> str:
    """One self-contained page on a collapse run.

    Args:
      rows: Rows of the collapse study; a run that was cut off gives a page on what is there.
      settings: The study's settings, shown as they are.
      provenance: Where the rows were made, shown as it is.

    Returns:
      An HTML document without scripts, links or outside resources. The same rows give the same
      text.

    Raises:
      ValueError: There is no row of the collapse study.
    """
    curves = Curves(rows)
    sections = _by_family if len(curves.positions) == 1 else _by_positions
    body = element(
        "main",
        _header(curves),
        tiles(curves),
        element("h2", "What the rows say"),
        bullets(headlines(rows), "says"),
        _overview(rows, curves),
        *sections(rows, curves),
        glossary(words.GLOSSARY),
        _methods(curves),
        origin(settings, {**weights_of(curves.first_row), **provenance}),
        element("footer", "Made by glassesjax from the rows of this run; every number is theirs."),
    )
    title = f"Representational collapse in {_model(curves)}"
    return document(title, body)


def _model(curves: Curves) -> str:
    name = str(curves.first_row["model"])
    return MODELS.get(name, PurePath(name).name)


def _header(curves: Curves) -> Markup:
    lengths = curves.lengths
    counts = [f"{len(curves.families)} families of runs", f"formats {', '.join(curves.formats)}"]
    if len(curves.positions) > 1:
        counts.insert(0, f"{len(curves.positions)} positional encodings")
    span = f"n from {lengths[0]} to {lengths[-1]}" if len(lengths) > 1 else f"n = {lengths[0]}"
    counts.append(f"{span}, {len(lengths)} measured lengths" if len(lengths) > 1 else span)
    return element(
        "header",
        element("p", "glassesjax · collapse study", class_="kicker"),
        element("h1", f"Representational collapse in {_model(curves)}"),
        *(element("p", sentence, class_="lead") for sentence in words.LEAD),
        element("p", " · ".join(counts), class_="facts"),
    )


def _overview(rows: Sequence[Row], curves: Curves) -> Markup:
    several = len(curves.positions) > 1
    grid = "a row per family of runs and a column per encoding" if several else "a panel per family"
    label = f"Signal against run length, {grid}"
    shown = picture(overview_figure(rows), "overview", label, words.OVERVIEW_CAPTION)
    return Markup(element("h2", "All runs at a glance") + shown)


def _by_family(rows: Sequence[Row], curves: Curves) -> list[Markup]:
    (positions,) = curves.positions
    title, meaning = words.POSITIONS.get(positions, (positions, ""))
    intro = element("p", f"Positions: {title}. {meaning}", class_="facts")
    return [intro, *(_family(rows, curves, positions, family) for family in curves.families)]


def _family(rows: Sequence[Row], curves: Curves, positions: str, family: str) -> Markup:
    panels = curves.panels(positions=positions, family=family)
    if not panels:
        return Markup(element("h2", family_title(family)) + element("p", "Not measured."))
    lines = [summarize(curves, panel) for panel in panels]
    here, name = f"{family_title(family)}: ", f"f{curves.families.index(family)}"
    drawn = collapse_figure(rows, positions, family)
    equal = equality_figure(rows, positions, family)
    drawn_label, equal_label = f"{here}distances against n", f"{here}equality after rounding"
    return element(
        "section",
        element("h2", family_title(family)),
        element("p", _meaning(family)),
        _hypothesis(curves, lines),
        bullets(family_sentences(curves, positions, family), "says"),
        picture(drawn, f"{name}-curves", drawn_label, words.CURVES_CAPTION),
        format_table(lines),
        picture(equal, f"{name}-equal", equal_label, words.EQUAL_CAPTION),
    )


def _meaning(family: str) -> str:
    return FAMILIES[family].meaning if family in FAMILIES else ""


def _hypothesis(curves: Curves, lines: Sequence[Summary]) -> Markup:
    """Whether the theorem's hypothesis on the prompts was measured to hold."""
    rows = curves(lines[0].panel, "signal")
    met = [bool(row["repeats_last"]) for row in rows]
    if all(met):
        said, state = "The theorem's hypothesis on the prompts holds at every length", "all"
    elif any(met):
        count = f"{sum(met)} of {len(met)} lengths only"
        said, state = f"The theorem's hypothesis on the prompts holds at {count}", "some"
    else:
        last = "the last tokens agree, but " if all(row["same_last"] for row in rows) else ""
        said, state = f"Outside the theorem: {last}the added token is not the last one", "none"
    return element("p", element("span", said, class_=f"holds {state}"))


def _by_positions(rows: Sequence[Row], curves: Curves) -> list[Markup]:
    found = [_positions(rows, curves, name) for name in curves.positions]
    return [_families_told(curves), *found]


def _families_told(curves: Curves) -> Markup:
    told = [
        part
        for family in curves.families
        for part in (
            element("dt", family_title(family)),
            element("dd", _meaning(family), " ", _hypothesis_of(curves, family)),
        )
    ]
    return Markup(element("h2", "The families of runs") + element("dl", *told))


def _hypothesis_of(curves: Curves, family: str) -> Markup:
    lines = [summarize(curves, panel) for panel in curves.panels(family=family)[:1]]
    return _hypothesis(curves, lines) if lines else escape("")


def _positions(rows: Sequence[Row], curves: Curves, positions: str) -> Markup:
    title, meaning = words.POSITIONS.get(positions, (positions, ""))
    mine = [row for row in rows if row.get("positions") == positions]
    lines = [summarize(curves, panel) for panel in curves.panels(positions=positions)]
    label = f"{title}: distances against run length, a row per family, a column per format"
    drawn = picture(collapse_figure(mine, positions), f"p-{positions}", label, words.CURVES_CAPTION)
    return element(
        "section",
        element("h2", title),
        element("p", meaning),
        bullets(headlines(mine), "says"),
        fold("Figure: every family and format", drawn),
        fold("Table: every family and format", run_table(lines)),
    )


def _methods(curves: Curves) -> Markup:
    weights = str(curves.first_row.get("weights", ""))
    four_bits = [words.FOUR_BITS.format(weights=weights)] if "q4" in weights.lower() else []
    said = bullets([*words.METHODS, *four_bits], "says")
    return element("section", element("h2", "Methods and caveats"), said)
