"""The longform page: a table, a figure and the texts side by side in one HTML file."""

import math
from collections.abc import Sequence
from pathlib import PurePath

from matplotlib.figure import Figure

from glassesjax.report.canvas import COLORS, INK, STRIP, WIDTH, log_values, margins, styled
from glassesjax.report.document import document, glossary, origin
from glassesjax.report.markup import Markup, bullets, element, fold, picture, table
from glassesjax.report.models import MODELS
from glassesjax.report.numbers import MISSING
from glassesjax.runs.run import Result
from glassesjax.studies.longform.records import LongformConstants, LongformRow
from glassesjax.studies.longform.sentences import longform_headlines, one_decimal
from glassesjax.studies.longform.summary import (
    UNBOUNDED,
    CellSummary,
    LongformSummary,
    by_cell,
    cell_name,
    full_perplexity,
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


def longform_page(result: Result[LongformRow, LongformConstants, LongformSummary]) -> str:
    """One self-contained page on a longform run.

    Args:
      result: The run.

    Returns:
      An HTML document without scripts, links or outside resources. The same rows give the same
      text.
    """
    run, summary = result.run, result.summary
    name = MODELS.get(run.constants.model, PurePath(run.constants.model).name)
    title = f"What {name} writes from a bounded state"
    figure = longform_figure(run.rows)
    body = element(
        "main",
        _header(run.constants, summary, title),
        element("h2", "What the rows say"),
        bullets(longform_headlines(summary), "says"),
        element("h2", "The texts in numbers"),
        _table(summary.cells),
        picture(figure, "texts", "Repetition and perplexity by policy", CAPTION),
        element("h2", "How the texts begin"),
        *_texts(run.rows),
        glossary(GLOSSARY),
        origin(run.settings, run.made),
        element("footer", "Made by glassesjax from the rows of this run; every number is theirs."),
    )
    return document(title, body)


def _header(constants: LongformConstants, summary: LongformSummary, title: str) -> Markup:
    counts = [f"{summary.texts} texts", f"at most {constants.max_tokens} tokens"]
    counts += [f"temperature {constants.temperature}", f"top-p {constants.top_p}", constants.dtype]
    return element(
        "header",
        element("p", "glassesjax · longform study", class_="kicker"),
        element("h1", title),
        *(element("p", sentence, class_="lead") for sentence in LEAD),
        element("p", " · ".join(counts), class_="facts"),
    )


def _table(cells: Sequence[CellSummary]) -> Markup:
    heads = ["policy", "slots", "texts", "ended", "tokens"]
    heads += ["distinct-1", "distinct-2", "distinct-3", "distinct-4"]
    heads += ["repetition", "perplexity under full", "same tokens as full"]
    return table(heads, [_line(cell) for cell in cells])


def _line(cell: CellSummary) -> list[object]:
    share = lambda value: MISSING if math.isnan(value) else f"{value:.2f}"
    return [
        cell.policy,
        cell.slots,
        cell.texts,
        cell.ended,
        f"{cell.length:.0f}",
        *map(share, (*cell.distinct, cell.repetition)),
        one_decimal(cell.perplexity),
        one_decimal(cell.common_prefix) if cell.bounded else MISSING,
    ]


def _texts(rows: Sequence[LongformRow]) -> list[Markup]:
    """The first lines of all texts of a number side by side, and each whole text folded."""
    parts = []
    for number in dict.fromkeys(row.sample for row in rows):
        texts = [(cell_name(r.policy, r.slots), r.text) for r in rows if r.sample == number]
        lines = [
            part
            for name, text in texts
            for part in (element("dt", name), element("dd", _beginning(text)))
        ]
        parts += [element("h3", f"Text {number}"), element("dl", *lines)]
        whole = [part for name, text in texts for part in (element("h4", name), element("p", text))]
        parts.append(fold("Whole texts", *whole))
    return parts


def _beginning(text: str) -> str:
    plain = " ".join(text.split())
    return plain if len(plain) <= FIRST else f"{plain[:FIRST]}…"


@styled
def longform_figure(rows: Sequence[LongformRow]) -> Figure:
    """Repetition and perplexity of each text, by policy and size.

    Args:
      rows: Rows of the longform study.

    Returns:
      Two panels over the same policies.
    """
    cells = by_cell(rows)
    figure = Figure(figsize=(WIDTH, 4.6))
    edges = margins(figure, bottom=1.1 if len(cells) > CROWDED else 0.5) | {"hspace": 0.3}
    top, bottom = figure.subplots(2, 1, sharex=True, gridspec_kw=edges)
    for axes, value_of in ((top, _repetition), (bottom, full_perplexity)):
        for at, ((policy, _), texts) in enumerate(cells.items()):
            ink = INK if policy == UNBOUNDED else COLORS["f32"]
            values = [value for value in map(value_of, texts) if not math.isnan(value)]
            axes.plot([at] * len(values), values, "o", color=ink, markersize=4, alpha=0.7)
        axes.grid(axis="y", color=STRIP, linewidth=0.8)
        axes.set_axisbelow(True)
    top.set_title("Share of 4-grams that stood there before")
    top.set_ylim(-0.03, 1.03)
    bottom.set_title("Perplexity under the full model")
    log_values(bottom)
    bottom.set_xlim(-0.6, len(cells) - 0.4)
    names = [cell_name(*key).replace(" with ", "\n") for key in cells]
    bottom.set_xticks(range(len(cells)), names, rotation=60 if len(cells) > CROWDED else 0)
    return figure


def _repetition(row: LongformRow) -> float:
    return math.nan if row.repetition is None else row.repetition
