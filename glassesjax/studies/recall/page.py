"""What the recall page shows, by the names of its template."""

import math
from collections.abc import Mapping
from typing import Any

from glassesjax.report.colors import policy_color
from glassesjax.report.models import arithmetic_facts, model_name
from glassesjax.report.render import Plot, page, words
from glassesjax.runs.run import Run
from glassesjax.studies.recall.cells import panels, read_cells
from glassesjax.studies.recall.charts import slots_name
from glassesjax.studies.recall.records import RecallConstants, RecallRow
from glassesjax.studies.recall.summary import RecallSummary


def recall_page(
    run: Run[RecallRow, RecallConstants], summary: RecallSummary, figures: Mapping[str, Plot]
) -> str:
    """One self-contained page on a recall run.

    Returns:
      An HTML document without references to anything outside it. The same rows give the same text.
    """
    known = run.constants
    model = model_name(known.model)
    policies = [*dict.fromkeys(c.policy for c in summary.unbounded), *summary.policies]
    # All rows: a list for each task and length, and in it one for each question.
    answers = []
    for cells in panels(read_cells(run.rows)).values():
        questions: dict[tuple[int, float], list[RecallRow]] = {}
        for row in (row for cell in cells for row in cell.rows):
            questions.setdefault((row.item, row.depth), []).append(row)
        answers.append(list(questions.values()))
    sizes = sorted({slots for panel in summary.panels for slots in panel.slots})
    return page(
        "glassesjax.studies.recall",
        run=run,
        summary=summary,
        model=model,
        facts=[
            known.weights or model,
            words(summary.tasks),
            f"passages of {words(summary.lengths)} tokens",
            f"answers: {summary.answers}",
            f"read {words(dict.fromkeys(row.prefill for row in run.rows))}",
            *arithmetic_facts(known.dtype, known.rounding),
        ],
        figure=figures["depth"],
        by_size=[(p, figures[name]) for p in summary.panels if (name := slots_name(p)) in figures],
        colors={name: policy_color(name) for name in policies},
        filters={
            "task": [(name, name) for name in summary.tasks],
            "length": [(length, f"{length} tokens") for length in summary.lengths],
            "slots": [(slots, f"{slots} slots") for slots in sizes],
        },
        answers=answers,
    )


def values(summary: RecallSummary) -> list[dict[str, Any]]:
    """The data behind the first figure: a row a cell and depth."""
    return [
        {"task": panel.task, "length": panel.length, "policy": cell.policy, "slots": cell.slots}
        | depth._asdict()
        | {"nats": depth.nats if math.isfinite(depth.nats) else None}
        for panel in summary.panels
        for cell in panel.cells
        for depth in cell.depths
    ]
