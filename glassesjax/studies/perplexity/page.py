"""What the perplexity page shows, by the names of its template."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from glassesjax.cache.obstacles import text_title
from glassesjax.report.colors import policy_color
from glassesjax.report.models import model_name
from glassesjax.report.numbers import size_text
from glassesjax.report.render import Plot, page
from glassesjax.runs.run import Run
from glassesjax.statistics.intervals import Interval
from glassesjax.studies.perplexity import paper
from glassesjax.studies.perplexity.charts import by_cost, sizes_drawn
from glassesjax.studies.perplexity.numbers import perplexity_text, times_text
from glassesjax.studies.perplexity.records import PerplexityConstants, PerplexityRow
from glassesjax.studies.perplexity.summary import PerplexitySummary
from glassesjax.studies.perplexity.totals import FULL

TEXTS = {"perplexity_text": perplexity_text, "times_text": times_text, "size_text": size_text}
"""What makes text of a number in the templates."""


def perplexity_page(
    run: Run[PerplexityRow, PerplexityConstants],
    summary: PerplexitySummary,
    figures: Mapping[str, Plot],
) -> str:
    """One self-contained page on a perplexity run.

    Returns:
      An HTML document without references to anything outside it. The same rows give the same text.
    """
    known = run.constants
    span = f"windows: {summary.windows}, of up to {known.window_tokens} tokens"
    if known.span == "book":
        span = f"a book of {known.window_tokens} tokens"
    # The full cache, then size by size, lowest perplexity first.
    rank = lambda cell: (
        cell.cell.policy != FULL,
        cell.cell.slots,
        cell.perplexity if math.isfinite(cell.perplexity) else math.inf,
    )

    def interval(ratio: Interval, *, close: bool = False) -> str:
        ends = (times_text(end, close=close) for end in ratio[1:])
        return " to ".join(ends) if all(map(math.isfinite, ratio[1:])) else ""

    least = summary.sizes[0] if summary.sizes else None
    return page(
        "glassesjax.studies.perplexity",
        run=run,
        summary=summary,
        model=model_name(known.model),
        facts=[
            known.weights or known.model,
            text_title(summary.text),
            f"{summary.tokens} tokens scored",
            span,
            f"position ids: {known.position_ids}",
            known.dtype,
        ],
        figure=figures["ratios"],
        positions=[(size, figures[f"positions-{size.slots}"]) for size in sizes_drawn(summary)],
        colors={policy: policy_color(policy) for policy in by_cost(summary)},
        least=least,
        best=summary.of(least.lowest, least.slots) if least and least.lowest else None,
        has_segments=any(cell.evicted for cell in summary.cells if cell.cell.policy != FULL),
        table=sorted(summary.cells, key=rank),
        paper=paper,
        interval=interval,
        **TEXTS,
    )


def segments(summary: PerplexitySummary) -> Sequence[dict[str, Any]]:
    """The data behind the figures: a row a policy, size and segment of positions."""
    return [
        {
            "policy": cell.cell.policy,
            "slots": cell.cell.slots,
            "first": part.start,
            "last": part.last,
            "perplexity": part.perplexity,
            "over_full": part.over_full,
            "perplexity_of_all": cell.perplexity,
            "over_full_of_all": cell.over_full.ratio.value if cell.over_full else None,
        }
        for cell in summary.cells
        for part in cell.by_position
    ]
