"""What the retention page shows, by the names of its template."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from glassesjax.cache.obstacles import OBSTACLES, text_title
from glassesjax.report.colors import policy_color
from glassesjax.report.models import arithmetic_facts, model_name
from glassesjax.report.render import Plot, answer, csv_text, page
from glassesjax.report.tokens import visible
from glassesjax.runs.run import Run
from glassesjax.statistics.intervals import LEAST_BLOCKS
from glassesjax.studies.retention.cells import Cell
from glassesjax.studies.retention.charts import BARS, BY_LAYER, block_counts, slug
from glassesjax.studies.retention.records import RetentionConstants, RetentionRow
from glassesjax.studies.retention.summary import RetentionSummary

MOST = 2048  # tokens of the text that a page shows, the last ones
TOKEN: Mapping[str, Callable[[Cell], np.ndarray]] = {
    "": lambda cell: cell.cached, "_steps": lambda cell: cell.steps
}  # fmt: skip


def headline(summary: RetentionSummary) -> str:
    """The run in a line."""
    return answer("glassesjax.studies.retention", summary)


def retention_page(
    run: Run[RetentionRow, RetentionConstants],
    summary: RetentionSummary,
    cells: Sequence[Cell],
    figures: Mapping[str, Plot],
) -> str:
    """One self-contained page on a retention run.

    Returns:
      An HTML document that loads nothing from outside. The same rows give the same text.
    """
    shared = run.constants
    model = model_name(shared.model)
    text = [text_title(shared.text)] if shared.text else []
    counts = [f"{shared.prompt_tokens} tokens", f"layers: {shared.num_layers}"]
    # The last tokens, with the share in percent of those that cache each, by cell.
    shares = np.array([cell.cached for cell in cells]).T  # (cells, seq) -> (seq, cells)
    tokens = [
        {
            "text": visible(row.token_text).replace("␣", " ").replace("⏎", "⏎\n"),
            "cached": [(at, round(100 * each)) for at, each in enumerate(share) if each],
        }
        for row, share in [*zip(cells[0].tokens, shares, strict=True)][-MOST:]
    ]
    return page(
        "glassesjax.studies.retention",
        run=run,
        summary=summary,
        model=model,
        facts=[
            shared.weights or model,
            *text,
            *counts,
            *arithmetic_facts(shared.dtype, shared.rounding),
        ],
        obstacle=OBSTACLES.get(shared.ranking_obstacle) if shared.ranking_obstacle else None,
        few_blocks=summary.cells[0].blocks < LEAST_BLOCKS,
        figure=figures["positions"],
        figures=figures,
        cells=[(slug(each), each, policy_color(each.policy)) for each in summary.cells],
        policy_pairs=[(name, name) for name in summary.policies],
        cell_pairs=[(slug(each), each.name) for each in summary.cells],
        tokens=tokens,
        layers=range(cells[0].num_layers),
        left_out=max(cells[0].length - MOST, 0),
        blocks=BARS,
        token_data={"id": "tokens", "csv": csv_text(token_values(cells))},
    )


def values(cells: Sequence[Cell]) -> list[dict[str, Any]]:
    """The data behind the first figure: a row for all layers of a cell, and then for each.

    Returns:
      How many ``deciders`` there are, the numbers of ``BY_LAYER``, and how many tokens of each
      block are cached at the end, in the sum over them; empty for none.
    """
    rows = []
    for layer in (None, *range(cells[0].num_layers)):
        for cell in cells:
            means: dict[str, float | None] = {}
            for name, (_, of) in BY_LAYER.items():
                numbers = of(cell)[slice(layer, None if layer is None else layer + 1)]
                known = numbers[~np.isnan(numbers)]  # the last layer overlaps with no next one
                means[name] = float(known.mean()) if len(known) else None
            counts = block_counts(cell, layer)
            rows.append(
                {
                    "layer": "all" if layer is None else layer,
                    "cell": slug(cell),
                    "deciders": len(cell.layers) // (cell.num_layers if layer is not None else 1),
                    **means,
                    "cached": ";".join(str(count or "") for count in counts),
                }
            )
    return rows


def token_values(cells: Sequence[Cell]) -> list[dict[str, Any]]:
    """What each cell makes of each token: which share caches it at the end, for how many steps."""
    # As many digits as a page shows, and one more.
    short = lambda value: float(f"{value:.3g}") if value < 100 else round(value)
    return [
        {"position": at, "word_class": title}
        | {f"{slug(cell)}{end}": short(of(cell)[at]) for cell in cells for end, of in TOKEN.items()}
        for at, title in enumerate(cells[0].titles)
    ]
