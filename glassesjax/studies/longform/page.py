"""What the longform page shows, by the names of its template."""

from collections.abc import Sequence
from typing import Any

from glassesjax.report.colors import policy_color
from glassesjax.report.models import arithmetic_facts, model_name
from glassesjax.report.render import Plot, page
from glassesjax.runs.run import Run
from glassesjax.studies.longform.records import LongformConstants, LongformRow
from glassesjax.studies.longform.summary import LongformSummary, by_cell, full_perplexity


def longform_page(
    run: Run[LongformRow, LongformConstants], summary: LongformSummary, figure: Plot
) -> str:
    """One self-contained page on a longform run.

    Returns:
      An HTML document without references to anything outside it. The same rows give the same text.
    """
    known = run.constants
    names = {key: cell.name for key, cell in zip(by_cell(run.rows), summary.cells, strict=True)}
    samples = sorted({row.sample for row in run.rows})
    return page(
        "glassesjax.studies.longform",
        run=run,
        summary=summary,
        model=model_name(known.model),
        facts=[
            known.weights or known.model,
            f"texts: {summary.texts}",
            f"prompt of {known.prompt_tokens} tokens, at most {known.max_tokens} more",
            f"temperature {known.temperature}, top-p {known.top_p}",
            *arithmetic_facts(known.dtype, known.rounding),
        ],
        figure=figure,
        colors={cell.policy: policy_color(cell.policy) for cell in summary.cells},
        slots=sorted({cell.slots for cell in summary.cells if cell.bounded}),
        # Texts of one number side by side: they are drawn alike under all policies.
        texts=[
            (number, [(names[r.policy, r.slots], r) for r in run.rows if r.sample == number])
            for number in samples
        ],
    )


def values(rows: Sequence[LongformRow]) -> list[dict[str, Any]]:
    """The data behind the figure: a row a text."""
    names = ("policy", "slots", "sample", "length", "ended", "common_prefix", "repetition")
    return [
        {**{name: getattr(row, name) for name in names}, "perplexity": full_perplexity(row)}
        for row in rows
    ]
