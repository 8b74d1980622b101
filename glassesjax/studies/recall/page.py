"""The recall page: tables, figures and answers side by side in one HTML file."""

import math
from collections.abc import Sequence
from pathlib import PurePath

from glassesjax.report.document import document, glossary, origin
from glassesjax.report.markup import Markup, bullets, element, fold, picture, table
from glassesjax.report.models import MODELS
from glassesjax.report.numbers import MISSING, percent
from glassesjax.runs.run import Result, Run
from glassesjax.studies.recall import words
from glassesjax.studies.recall.cells import Cell, panels, read_cells
from glassesjax.studies.recall.figures import depth_figure, slots_figure
from glassesjax.studies.recall.records import RecallConstants, RecallRow
from glassesjax.studies.recall.sentences import recall_headlines, share
from glassesjax.studies.recall.summary import CellSummary, PanelSummary, RecallSummary

SHOWN = 3  # questions of each task and length whose answers stand on the page


def recall_page(result: Result[RecallRow, RecallConstants, RecallSummary]) -> str:
    """One self-contained page on a recall run.

    Args:
      result: The run.

    Returns:
      An HTML document without scripts, links or outside resources. The same rows give the same
      text.
    """
    run, summary = result.run, result.summary
    name = MODELS.get(run.constants.model, PurePath(run.constants.model).name)
    title = f"What {name} can still say of what it has read"
    slots = "Surprise of the expected answers against the number of slots"
    depth = "Surprise of the expected answers against their depth in the passage"
    body = element(
        "main",
        _header(run, summary, title),
        element("h2", "What the rows say"),
        bullets(recall_headlines(summary), "says"),
        *_tables(summary.panels),
        element("h2", "By size of the state"),
        picture(slots_figure(summary), "slots", slots, words.SLOTS_CAPTION),
        element("h2", "By depth"),
        picture(depth_figure(summary), "depth", depth, words.DEPTH_CAPTION),
        element("h2", "Answers side by side"),
        *_answers(read_cells(run.rows)),
        glossary(words.GLOSSARY),
        element("section", element("h2", "Methods and caveats"), bullets(words.METHODS, "says")),
        origin(run.settings, run.made),
        element("footer", "Made by glassesjax from the rows of this run; every number is theirs."),
    )
    return document(title, body)


def _header(run: Run[RecallRow, RecallConstants], summary: RecallSummary, title: str) -> Markup:
    constants = run.constants
    counts = [f"{summary.answers} answers", f"{constants.num_layers} layers"]
    modes = dict.fromkeys(row.prefill for row in run.rows)
    counts += [f"width {constants.model_dim}", f"read {' and '.join(modes)}", constants.dtype]
    return element(
        "header",
        element("p", "glassesjax · recall study", class_="kicker"),
        element("h1", title),
        *(element("p", sentence, class_="lead") for sentence in words.LEAD),
        element("p", " · ".join(counts), class_="facts"),
    )


def _tables(panels: Sequence[PanelSummary]) -> list[Markup]:
    heads = ["policy", "slots", "exact (95 %)", "F1", "nats a token", "line held", "questions"]
    parts = []
    for panel in panels:
        heading = element("h2", f"{panel.task}: passages of {panel.length} tokens")
        parts += [heading, table(heads, [_line(cell) for cell in panel.cells])]
    return parts


def _line(cell: CellSummary) -> list[object]:
    return [
        cell.policy,
        cell.slots,
        share(cell),
        f"{cell.f1:.2f}",
        MISSING if math.isnan(cell.nats) else f"{cell.nats:.2f}",
        percent(cell.retained),
        cell.questions,
    ]


def _answers(cells: Sequence[Cell]) -> list[Markup]:
    parts = []
    for mine in panels(cells).values():
        questions = {(r.item, r.depth): r for cell in mine for r in cell.rows}
        for number, row in enumerate(questions.values()):
            title = f"{row.task}, {row.book}, depth {row.depth}: {row.question} …"
            shown = table(["policy", "answer", "F1", "nats", "held"], _to(row, mine))
            parts.append(element("h3", title) + shown if number < SHOWN else fold(title, shown))
    return [Markup(part) for part in parts]


def _to(question: RecallRow, cells: Sequence[Cell]) -> list[list[object]]:
    """All answers to a question, the expected one first."""
    lines: list[list[object]] = [["expected", question.expected, MISSING, MISSING, MISSING]]
    for cell in cells:
        for row in cell.rows:
            if (row.item, row.depth) != (question.item, question.depth):
                continue
            nats = MISSING if math.isnan(row.gold_nll) else f"{row.gold_nll:.2f}"
            retained = percent(row.retained_share)
            lines.append([cell.name, row.answer or MISSING, f"{row.f1:.2f}", nats, retained])
    return lines
