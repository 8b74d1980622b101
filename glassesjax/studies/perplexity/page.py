"""What the perplexity page shows, by the names of its template."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from glassesjax.cache.obstacles import text_title
from glassesjax.report.chart import Chart
from glassesjax.report.colors import format_color, policy_color, series_of
from glassesjax.report.models import arithmetic_facts, model_name
from glassesjax.report.numbers import size_text
from glassesjax.report.render import Plot, page, plots
from glassesjax.runs.run import Run
from glassesjax.statistics.intervals import Interval
from glassesjax.studies.perplexity import paper
from glassesjax.studies.perplexity.charts import by_cost, has_linear, sizes_drawn
from glassesjax.studies.perplexity.format_chart import cell_title
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

    def values(perplexity: Interval) -> str:
        ends = perplexity[1:]
        return " to ".join(map(perplexity_text, ends)) if all(map(math.isfinite, ends)) else ""

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
            *_arithmetic(run, summary),
        ],
        figure=figures["ratios"],
        formats_figure=figures.get("formats"),
        format_colors={each.format: format_color(each.format) for each in summary.formats},
        series_of=series_of,
        cell_title=cell_title,
        positions=[(size, figures[f"positions-{size.slots}"]) for size in sizes_drawn(summary)],
        colors={policy: policy_color(policy) for policy in by_cost(summary)},
        least=least,
        best=summary.of(least.lowest, least.slots) if least and least.lowest else None,
        has_segments=any(cell.evicted for cell in summary.cells if cell.cell.policy != FULL),
        table=sorted(summary.cells, key=rank),
        paper=paper,
        interval=interval,
        values=values,
        **TEXTS,
    )


def _arithmetic(
    run: Run[PerplexityRow, PerplexityConstants], summary: PerplexitySummary
) -> list[str]:
    """How the passes were done: formats where there are several, else dtype and rounding."""
    facts = arithmetic_facts(run.constants.dtype, run.constants.rounding)
    return facts or [" ".join(each.format for each in summary.formats)]


def drawn(
    summary: PerplexitySummary, figures: Mapping[str, Callable[..., Chart]]
) -> dict[str, Plot]:
    """The figures of a page; the first is of formats where there are several, else of policies."""
    if len(summary.formats) > 1:
        return plots(figures, hero="formats", rows=by_format(summary))
    return plots(figures, hero="ratios", linear=has_linear(summary), rows=segments(summary))


def by_format(summary: PerplexitySummary) -> Sequence[dict[str, Any]]:
    """The data behind the figure of formats: a row a format, policy and size."""
    finite = lambda value: value if math.isfinite(value) else None
    names = "value", "low", "high"
    return [
        {
            "format": each.format,
            "policy": cell.cell.policy,
            "slots": cell.cell.slots,
            **{f"perplexity_{n}": finite(getattr(cell.perplexity, n)) for n in names},
            **{f"ratio_{n}": cell.ratio and finite(getattr(cell.ratio, n)) for n in names},
        }
        for each in summary.formats
        for cell in each.cells
    ]


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
