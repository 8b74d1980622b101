"""The retention page: maps, lifetimes and the text itself in one HTML file."""

import importlib.resources
from collections.abc import Sequence
from pathlib import PurePath

from glassesjax.report.document import document, glossary, origin
from glassesjax.report.markup import Markup, bullets, element, fold, picture, table
from glassesjax.report.models import MODELS
from glassesjax.report.numbers import MISSING, decimal, percent
from glassesjax.runs.run import Run
from glassesjax.studies.retention import words
from glassesjax.studies.retention.cells import Cell, read_cells
from glassesjax.studies.retention.figures import (
    classes_figure,
    layers_figure,
    maps_figure,
    overview_figure,
    position_figure,
)
from glassesjax.studies.retention.records import RetentionConstants, RetentionRow
from glassesjax.studies.retention.sentences import cell_sentences, text_sentences
from glassesjax.studies.retention.summary import CellSummary, ClassSummary, RetentionSummary
from glassesjax.studies.retention.text import held_text


def retention_page(run: Run[RetentionRow, RetentionConstants], summary: RetentionSummary) -> str:
    """One self-contained page on a retention run.

    Args:
      run: Its settings and where it was made are shown as they are.
      summary: What it comes down to; a cell that was cut off is left out.

    Returns:
      An HTML document without scripts, links or outside resources. The same rows give the same
      text.
    """
    cells, shared = read_cells(run), run.constants
    title = f"What a bounded cache keeps in {_model(shared)}"
    said = [element("h3", each.name) + bullets(_own(each), "says") for each in summary.cells]
    body = element(
        "main",
        _header(cells, shared, title),
        _tiles(summary.cells[0]),
        element("h2", "What the rows say"),
        *(element("p", text) for text in text_sentences(summary)),
        *map(Markup, said),
        _maps(cells),
        _lifetimes(cells, summary),
        _layers(cells),
        _texts(cells),
        glossary(words.GLOSSARY),
        _methods(shared),
        origin(run.settings, run.made),
        element("footer", "Made by glassesjax from the rows of this run; every number is theirs."),
    )
    return document(title, body, importlib.resources.files("glassesjax.report") / "tokens.css")


def _model(shared: RetentionConstants) -> str:
    return MODELS.get(shared.model, PurePath(shared.model).name)


def _own(cell: CellSummary) -> list[str]:
    """The sentences without the cell's name, which is their heading."""
    said = [text.removeprefix(f"{cell.name}: ") for text in cell_sentences(cell)]
    return [text[:1].upper() + text[1:] for text in said]


def _header(cells: Sequence[Cell], shared: RetentionConstants, title: str) -> Markup:
    counts = [f"{shared.prompt_tokens} tokens", f"{shared.num_layers} layers"]
    counts += [f"positions {shared.positions}", shared.dtype, *(cell.name for cell in cells)]
    return element(
        "header",
        element("p", "glassesjax · retention study", class_="kicker"),
        element("h1", title),
        *(element("p", sentence, class_="lead") for sentence in words.LEAD),
        element("p", " · ".join(counts), class_="facts"),
    )


def _tiles(cell: CellSummary) -> Markup:
    recent = f"of what is held is among the last {cell.slots}, with {cell.name}"
    first = f"{cell.deciders} keep the first token to the end"
    mean = "a token can be attended to in the mean, under any policy"
    somewhere = "of the tokens are held somewhere after the last step"
    return element(
        "ul",
        _tile(percent(cell.recent_share), "", recent),
        _tile(str(cell.first_cached), f"of {cell.decisions}", first),
        _tile(decimal(cell.steps), "steps", mean),
        _tile(percent(cell.cached_somewhere), "", somewhere),
        class_="tiles",
    )


def _tile(figure: str, unit: str, said: str) -> Markup:
    shown = element("b", figure, " ", element("small", unit))
    return element("li", shown, element("span", said))


def _maps(cells: Sequence[Cell]) -> Markup:
    parts = [part for at, cell in enumerate(cells) for part in _cell_maps(cell, at)]
    return element("section", element("h2", "Who is held when"), *parts)


def _cell_maps(cell: Cell, at: int) -> list[Markup]:
    together = words.MAP.format(decisions=cell.decisions)
    label = f"Which tokens are held after each step, {cell.name}"
    large = picture(overview_figure(cell), f"map-{at}", label, together)
    small = picture(maps_figure(cell), f"maps-{at}", f"{label}, by layer", words.MAPS)
    return [element("h3", cell.name), large, fold("Each layer by itself", small)]


def _lifetimes(cells: Sequence[Cell], summary: RetentionSummary) -> Markup:
    early = picture(
        position_figure(cells),
        "positions",
        "Mean lifetime of the first tokens by position",
        words.POSITION.format(decisions=cells[0].decisions),
    )
    label = "Mean lifetime by class of token, beside the paper's"
    classes = picture(classes_figure(cells), "classes", label, words.CLASSES)
    tables = [fold(f"Table: classes, {each.name}", _class_table(each)) for each in summary.cells]
    heads = element("h2", "How long a token lives"), element("h3", "By position")
    return element("section", *heads, early, element("h3", "By class"), classes, *tables)


def _class_table(cell: CellSummary) -> Markup:
    heads = ["class", "tokens", "steps", "standard error", "over the mean", "survival mean"]
    lines = [_class_line(each) for each in cell.classes]
    return table([*heads, "held to the end", "paper"], lines)


def _class_line(each: ClassSummary) -> list[object]:
    span = [f"{value:.2f}" for value in (min(each.paper), max(each.paper))] if each.paper else []
    paper = MISSING.join(dict.fromkeys(span)) or MISSING
    error = MISSING if each.standard_error is None else decimal(each.standard_error)
    numbers = decimal(each.steps), error, f"{each.over_mean:.2f}", decimal(each.survival_steps)
    return [each.title, each.tokens, *numbers, percent(each.censored), paper]


def _layers(cells: Sequence[Cell]) -> Markup:
    label = "Recent share, agreement with the next layer, and the first token's lifetime, by layer"
    shown = picture(layers_figure(cells), "layers", label, words.LAYERS)
    return element("section", element("h2", "Layer by layer"), shown)


def _texts(cells: Sequence[Cell]) -> Markup:
    intro = element("p", words.TEXT.format(decisions=cells[0].decisions))
    first = element("h3", cells[0].name), held_text(cells[0])
    rest = [fold(cell.name, held_text(cell)) for cell in cells[1:]]
    return element(
        "section", element("h2", "The text, colored by what is held"), intro, *first, *rest
    )


def _methods(shared: RetentionConstants) -> Markup:
    weights = shared.weights or ""
    four_bits = [words.FOUR_BITS.format(weights=weights)] if "q4" in weights.lower() else []
    lines = bullets([*words.METHODS, *four_bits], "says")
    return element("section", element("h2", "Methods and caveats"), lines)
