"""The recall page: tables, figures and answers side by side in one HTML file."""

import math
from collections.abc import Mapping, Sequence
from pathlib import PurePath

from glassesjax.files import Row
from glassesjax.report.document import document, glossary, origin, weights_of
from glassesjax.report.fields import measured
from glassesjax.report.markup import Markup, bullets, element, fold, picture, table
from glassesjax.report.models import MODELS
from glassesjax.report.numbers import MISSING, percent
from glassesjax.studies.recall import words
from glassesjax.studies.recall.cells import Cell, panels, read_cells
from glassesjax.studies.recall.figures import depth_figure, slots_figure
from glassesjax.studies.recall.sentences import recall_headlines, share

SHOWN = 3  # questions of each task and length whose answers stand on the page


def recall_page(
    rows: Sequence[Row], settings: Mapping[str, object], provenance: Mapping[str, object]
) -> str:
    """One self-contained page on a recall run.

    Args:
      rows: Rows of the recall study.
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
    title = f"What {name} can still say of what it has read"
    slots = "Surprise of the expected answers against the number of slots"
    depth = "Surprise of the expected answers against their depth in the passage"
    body = element(
        "main",
        _header(rows, title),
        element("h2", "What the rows say"),
        bullets(recall_headlines(rows), "says"),
        *_tables(cells),
        element("h2", "By size of the state"),
        picture(slots_figure(rows), "slots", slots, words.SLOTS_CAPTION),
        element("h2", "By depth"),
        picture(depth_figure(rows), "depth", depth, words.DEPTH_CAPTION),
        element("h2", "Answers side by side"),
        *_answers(cells),
        glossary(words.GLOSSARY),
        element("section", element("h2", "Methods and caveats"), bullets(words.METHODS, "says")),
        origin(settings, {**weights_of(rows[0]), **provenance}),
        element("footer", "Made by glassesjax from the rows of this run; every number is theirs."),
    )
    return document(title, body)


def _header(rows: Sequence[Row], title: str) -> Markup:
    row = rows[0]
    counts = [f"{len(rows)} answers", f"{row['layers']} layers", f"width {row['width']}"]
    modes = dict.fromkeys(str(row["prefill"]) for row in rows)
    counts += [f"read {' and '.join(modes)}", str(row["dtype"])]
    return element(
        "header",
        element("p", "glassesjax · recall study", class_="kicker"),
        element("h1", title),
        *(element("p", sentence, class_="lead") for sentence in words.LEAD),
        element("p", " · ".join(counts), class_="facts"),
    )


def _tables(cells: Sequence[Cell]) -> list[Markup]:
    heads = ["policy", "slots", "exact (95 %)", "F1", "nats a token", "line held", "questions"]
    parts = []
    for (task, length), mine in panels(cells).items():
        heading = element("h2", f"{task}: passages of {length} tokens")
        parts += [heading, table(heads, [_line(cell) for cell in mine])]
    return parts


def _line(cell: Cell) -> list[object]:
    nats = cell.mean("gold_nll")
    return [
        cell.policy,
        cell.slots,
        share(cell),
        f"{cell.mean('f1'):.2f}",
        MISSING if math.isnan(nats) else f"{nats:.2f}",
        percent(cell.mean("held")),
        len(cell.rows),
    ]


def _answers(cells: Sequence[Cell]) -> list[Markup]:
    parts = []
    for mine in panels(cells).values():
        asked = {(r["item"], r["depth"]): r for cell in mine for r in cell.rows}
        for number, (key, row) in enumerate(asked.items()):
            title = f"{row['task']}, {row['book']}, depth {row['depth']}: {row['question']} …"
            shown = table(["policy", "answer", "F1", "nats", "held"], _said(mine, key, row))
            parts.append(element("h3", title) + shown if number < SHOWN else fold(title, shown))
    return [Markup(part) for part in parts]


def _said(cells: Sequence[Cell], key: tuple[object, object], row: Row) -> list[list[object]]:
    found = [(c, r) for c in cells for r in c.rows if (r["item"], r["depth"]) == key]
    lines: list[list[object]] = [["expected", row["expected"], MISSING, MISSING, MISSING]]
    for cell, answer in found:
        nats = answer["gold_nll"]
        told = MISSING if nats is None else f"{float(nats):.2f}"
        score, held = f"{measured(answer, 'f1'):.2f}", percent(measured(answer, "held"))
        lines.append([cell.name, answer["answer"] or MISSING, score, told, held])
    return lines
