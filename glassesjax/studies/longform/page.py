"""The longform page: a table, a figure and the texts side by side in one HTML file."""

import math
from collections.abc import Mapping, Sequence
from pathlib import PurePath

from matplotlib.figure import Figure

from glassesjax.files import Row
from glassesjax.report.canvas import COLORS, INK, STRIP, WIDTH, log_values, margins, styled
from glassesjax.report.document import document, glossary, origin, weights_of
from glassesjax.report.markup import Markup, bullets, element, fold, picture, table
from glassesjax.report.models import MODELS
from glassesjax.report.numbers import MISSING
from glassesjax.studies.longform.cells import (
    UNBOUNDED,
    Cell,
    longform_headlines,
    read_cells,
    told_number,
)

LEAD = (
    "The model continues a prompt for long, and writes from a state that may hold only so much. The"
    " same draws decide everywhere, so that texts part where the state first matters.",
)
GLOSSARY = {
    "distinct-n": "How many different runs of n tokens a text has, over how many runs it has.",
    "repetition": "The share of runs of 4 tokens that stood in the text before: 1 less distinct-4.",
    "perplexity under the full model": "The exponential of the mean negative log probability that"
    " the same model, with everything kept, gives to each token of the text. Low is unsurprising:"
    " coherent, or repetitive. Read it beside repetition.",
    "same tokens": "How many tokens are those of the full state's text before the first that"
    " differs.",
}
CAPTION = (
    "Each dot is a text. Top: share of 4-grams that stood there before. Bottom: perplexity under"
    " the full model, logarithmic."
)
CROWDED = 8  # policies and sizes whose names find no room side by side
FIRST = 240  # characters of each text side by side


def longform_page(
    rows: Sequence[Row], settings: Mapping[str, object], provenance: Mapping[str, object]
) -> str:
    """One self-contained page on a longform run.

    Args:
      rows: Rows of the longform study.
      settings: The study's settings, shown as they are.
      provenance: Where the rows were made, shown as it is.

    Returns:
      An HTML document without scripts, links or outside resources. The same rows give the same
      text.

    Raises:
      ValueError: There are no rows.
    """
    cells = read_cells(rows)
    name = MODELS.get(str(rows[0]["model"]), PurePath(str(rows[0]["model"])).name)
    title = f"What {name} writes from a bounded state"
    body = element(
        "main",
        _header(rows, title),
        element("h2", "What the rows say"),
        bullets(longform_headlines(rows), "says"),
        element("h2", "The texts in numbers"),
        _table(cells),
        picture(longform_figure(rows), "texts", "Repetition and perplexity by policy", CAPTION),
        element("h2", "How the texts begin"),
        *_texts(rows),
        glossary(GLOSSARY),
        origin(settings, {**weights_of(rows[0]), **provenance}),
        element("footer", "Made by glassesjax from the rows of this run; every number is theirs."),
    )
    return document(title, body)


def _header(rows: Sequence[Row], title: str) -> Markup:
    row = rows[0]
    counts = [f"{len(rows)} texts", f"at most {row['max_tokens']} tokens"]
    counts += [f"temperature {row['temperature']}", f"top-p {row['top_p']}", str(row["dtype"])]
    return element(
        "header",
        element("p", "glassesjax · longform study", class_="kicker"),
        element("h1", title),
        *(element("p", sentence, class_="lead") for sentence in LEAD),
        element("p", " · ".join(counts), class_="facts"),
    )


def _table(cells: Sequence[Cell]) -> Markup:
    heads = ["policy", "slots", "texts", "ended", "tokens"]
    heads += [f"distinct-{size}" for size in (1, 2, 3, 4)]
    heads += ["repetition", "perplexity under full", "same tokens as full"]
    return table(heads, [_line(cell) for cell in cells])


def _line(cell: Cell) -> list[object]:
    shares = [f"distinct_{size}" for size in (1, 2, 3, 4)] + ["repetition"]
    told = lambda value: MISSING if math.isnan(value) else f"{value:.2f}"
    return [
        cell.policy,
        cell.slots,
        len(cell.rows),
        sum(bool(row["ended"]) for row in cell.rows),
        f"{cell.mean('length'):.0f}",
        *(told(cell.mean(name)) for name in shares),
        told_number(cell.perplexity),
        MISSING if cell.policy == UNBOUNDED else told_number(cell.mean("agrees")),
    ]


def _texts(rows: Sequence[Row]) -> list[Markup]:
    """The first lines of all texts of a number side by side, and each whole text folded."""
    parts = []
    for number in dict.fromkeys(row["sample"] for row in rows):
        mine = [cell for row in rows if row["sample"] == number for cell in read_cells([row])]
        pairs = [(cell.name, _beginning(str(cell.rows[0]["text"]))) for cell in mine]
        lines = [part for n, text in pairs for part in (element("dt", n), element("dd", text))]
        parts += [element("h3", f"Text {number}"), element("dl", *lines)]
        whole = [
            part
            for cell in mine
            for part in (element("h4", cell.name), element("p", cell.rows[0]["text"]))
        ]
        parts.append(fold("Whole texts", *whole))
    return parts


def _beginning(text: str) -> str:
    plain = " ".join(text.split())
    return plain if len(plain) <= FIRST else f"{plain[:FIRST]}…"


@styled
def longform_figure(rows: Sequence[Row]) -> Figure:
    """Repetition and perplexity of each text, by policy and size.

    Args:
      rows: Rows of the longform study.

    Returns:
      Two panels over the same policies.
    """
    cells = read_cells(rows)
    figure = Figure(figsize=(WIDTH, 4.6))
    edges = margins(figure, bottom=1.1 if len(cells) > CROWDED else 0.5) | {"hspace": 0.3}
    top, bottom = figure.subplots(2, 1, sharex=True, gridspec_kw=edges)
    for axes, field in ((top, "repetition"), (bottom, "full_perplexity")):
        for place, cell in enumerate(cells):
            ink = INK if cell.policy == UNBOUNDED else COLORS["f32"]
            values = cell.values(field)
            axes.plot([place] * len(values), values, "o", color=ink, markersize=4, alpha=0.7)
        axes.grid(axis="y", color=STRIP, linewidth=0.8)
        axes.set_axisbelow(True)
    top.set_title("Share of 4-grams that stood there before")
    top.set_ylim(-0.03, 1.03)
    bottom.set_title("Perplexity under the full model")
    log_values(bottom)
    bottom.set_xlim(-0.6, len(cells) - 0.4)
    names = [cell.name.replace(" with ", "\n") for cell in cells]
    bottom.set_xticks(range(len(cells)), names, rotation=60 if len(cells) > CROWDED else 0)
    return figure
