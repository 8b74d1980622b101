"""The retention page: maps, lifetimes and the text itself in one HTML file."""

import importlib.resources
from collections.abc import Mapping, Sequence
from pathlib import PurePath

from glassesjax.files import Row
from glassesjax.report.document import document, glossary, origin, weights_of
from glassesjax.report.fields import measured
from glassesjax.report.markup import Markup, bullets, element, fold, picture, table
from glassesjax.report.models import MODELS
from glassesjax.report.numbers import MISSING, decimal, percent
from glassesjax.studies.retention import words
from glassesjax.studies.retention.cells import Cell, read_cells
from glassesjax.studies.retention.figures import (
    classes_figure,
    layers_figure,
    maps_figure,
    overview_figure,
    position_figure,
)
from glassesjax.studies.retention.sentences import cell_sentences, paper_relative, text_sentences
from glassesjax.studies.retention.text import held_text


def retention_page(
    rows: Sequence[Row], settings: Mapping[str, object], provenance: Mapping[str, object]
) -> str:
    """One self-contained page on a retention run.

    Args:
      rows: Rows of the retention study; a cell that was cut off is left out.
      settings: The study's settings, shown as they are.
      provenance: Where the rows were made, shown as it is.

    Returns:
      An HTML document without scripts, links or outside resources. The same rows give the same
      text.

    Raises:
      ValueError: There is no whole cell.
    """
    cells = read_cells(rows)
    title = f"What a bounded cache keeps in {_model(cells[0])}"
    said = [element("h3", cell.name) + bullets(_own(cell), "says") for cell in cells]
    body = element(
        "main",
        _header(cells, title),
        _tiles(cells[0]),
        element("h2", "What the rows say"),
        *(element("p", text) for text in text_sentences(cells[0])),
        *map(Markup, said),
        _maps(cells),
        _lifetimes(cells),
        _layers(cells),
        _texts(cells),
        glossary(words.GLOSSARY),
        _methods(cells[0]),
        origin(settings, {**weights_of(cells[0].summary), **provenance}),
        element("footer", "Made by glassesjax from the rows of this run; every number is theirs."),
    )
    return document(title, body, importlib.resources.files("glassesjax.report") / "tokens.css")


def _model(cell: Cell) -> str:
    name = str(cell.summary["model"])
    return MODELS.get(name, PurePath(name).name)


def _own(cell: Cell) -> list[str]:
    """The sentences without the cell's name, which is their heading."""
    said = [text.removeprefix(f"{cell.name}: ") for text in cell_sentences(cell)]
    return [text[:1].upper() + text[1:] for text in said]


def _header(cells: Sequence[Cell], title: str) -> Markup:
    row = cells[0].summary
    counts = [
        f"{cells[0].length} tokens",
        f"{row['layers']} layers",
        f"positions {row['positions']}",
    ]
    counts += [str(row["dtype"]), *(cell.name for cell in cells)]
    return element(
        "header",
        element("p", "glassesjax · retention study", class_="kicker"),
        element("h1", title),
        *(element("p", sentence, class_="lead") for sentence in words.LEAD),
        element("p", " · ".join(counts), class_="facts"),
    )


def _tiles(cell: Cell) -> Markup:
    kept, mean = round(cell.whole("first_held") * len(cell.layers)), decimal(cell.whole("steps"))
    with_cell = f"with {cell.name}"
    shares = [percent(cell.whole(name)) for name in ("recent_share", "held_somewhere")]
    return element(
        "ul",
        _tile(shares[0], "", f"of what is held is among the last {cell.slots}, {with_cell}"),
        _tile(
            str(kept), f"of {len(cell.layers)}", f"{cell.decisions} keep the first token to the end"
        ),
        _tile(mean, "steps", "a token can be attended to in the mean, under any policy"),
        _tile(shares[1], "", "of the tokens are held somewhere after the last step"),
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


def _lifetimes(cells: Sequence[Cell]) -> Markup:
    early = picture(
        position_figure(cells),
        "positions",
        "Mean lifetime of the first tokens by position",
        words.POSITION.format(decisions=cells[0].decisions),
    )
    label = "Mean lifetime by class of token, beside the paper's"
    classes = picture(classes_figure(cells), "classes", label, words.CLASSES)
    tables = [fold(f"Table: classes, {cell.name}", _class_table(cell)) for cell in cells]
    heads = element("h2", "How long a token lives"), element("h3", "By position")
    return element("section", *heads, early, element("h3", "By class"), classes, *tables)


def _class_table(cell: Cell) -> Markup:
    heads = ["class", "tokens", "steps", "standard error", "over the mean", "survival mean"]
    return table([*heads, "held to the end", "paper"], [_class_line(cell, n) for n in cell.classes])


def _class_line(cell: Cell, name: str) -> list[object]:
    row, theirs = cell.classes[name], paper_relative(cell, name)
    number = lambda key: MISSING if row[key] is None else decimal(measured(row, key))
    span = [f"{value:.2f}" for value in (min(theirs), max(theirs))] if theirs else [MISSING]
    paper = MISSING.join(dict.fromkeys(span))
    shares = f"{cell.relative(name):.2f}", number("survival_steps")
    held = percent(measured(row, "censored"))
    return [name, row["tokens"], number("steps"), number("standard_error"), *shares, held, paper]


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


def _methods(cell: Cell) -> Markup:
    said, weights = [*words.METHODS], str(cell.summary.get("weights", ""))
    if "q4" in weights.lower():
        said.append(words.FOUR_BITS.format(weights=weights))
    return element("section", element("h2", "Methods and caveats"), bullets(said, "says"))
