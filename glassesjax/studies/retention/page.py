"""What the retention page shows, by the names of its template."""

from collections.abc import Mapping, Sequence
from typing import Any

from glassesjax.cache.obstacles import OBSTACLES, text_title
from glassesjax.report.models import model_name
from glassesjax.report.numbers import percent
from glassesjax.report.render import Plot, page
from glassesjax.report.tokens import visible
from glassesjax.runs.run import Run
from glassesjax.statistics.intervals import LEAST_BLOCKS
from glassesjax.studies.retention.cells import Cell
from glassesjax.studies.retention.charts import BARS, cell_colors, slug
from glassesjax.studies.retention.records import RetentionConstants, RetentionRow
from glassesjax.studies.retention.summary import CellSummary, RetentionSummary

MOST = 2048  # tokens of the text that a page shows, the last ones


def headline(summary: RetentionSummary) -> str:
    """The run in a line, its numbers first.

    Returns:
      For each cell how recent what is cached is, and where the first token stays.
    """
    return "; ".join([*summary.passes.phrases(), *map(_cell_headline, summary.cells)])


def _cell_headline(cell: CellSummary) -> str:
    if cell.finite is False:
        return f"no result with {cell.name}"
    if cell.tokens <= cell.slots:
        return f"all {cell.tokens} tokens fit with {cell.name}"
    first = f"the first token cached to the end by {cell.first_cached} of {cell.decisions}"
    return f"{percent(cell.recent_share)} recent, {first} {cell.deciders}, with {cell.name}"


def retention_page(
    run: Run[RetentionRow, RetentionConstants],
    summary: RetentionSummary,
    cells: Sequence[Cell],
    figures: Mapping[str, Plot],
) -> str:
    """One self-contained page on a retention run.

    Returns:
      An HTML document that asks for nothing outside it. The same rows give the same text.
    """
    shared, colors = run.constants, cell_colors(cells)
    model = model_name(shared.model)
    return page(
        "glassesjax.studies.retention",
        run=run,
        summary=summary,
        model=model,
        facts=_facts(shared, model),
        obstacle=OBSTACLES.get(shared.ranking_obstacle) if shared.ranking_obstacle else None,
        few_blocks=summary.cells[0].blocks < LEAST_BLOCKS,
        figure=figures["positions"],
        figures=figures,
        cells=[(slug(each), each, colors[each.name]) for each in summary.cells],
        policy_pairs=[(name, name) for name in summary.policies],
        cell_pairs=[(slug(each), each.name) for each in summary.cells],
        tokens=_tokens(cells),
        left_out=max(cells[0].length - MOST, 0),
        bars=BARS,
    )


def _facts(shared: RetentionConstants, model: str) -> list[str]:
    text = [text_title(shared.text)] if shared.text else []
    counts = [f"{shared.prompt_tokens} tokens", f"layers: {shared.num_layers}"]
    return [shared.weights or model, *text, *counts, shared.dtype]


def values(cells: Sequence[Cell]) -> list[dict[str, Any]]:
    """The data behind the first figure: a row a token.

    Returns:
      Its position, and the share of decisions that cache it at the end, by cell.
    """
    shares = {slug(cell): cell.cached for cell in cells}
    return [
        {"position": at, **{name: float(each[at]) for name, each in shares.items()}}
        for at in range(cells[0].length)
    ]


def _tokens(cells: Sequence[Cell]) -> list[dict[str, Any]]:
    """The last tokens of the text, with what each cell makes of them."""
    rows = list(zip(*(cell.tokens for cell in cells), strict=True))
    titles = cells[0].titles
    return [
        {
            "position": row[0].position,
            "text": visible(row[0].token_text).replace("␣", " ").replace("⏎", "⏎\n"),
            "title": titles[row[0].position],
            "cells": [(cell.name, own) for cell, own in zip(cells, row, strict=True)],
        }
        for row in rows[-MOST:]
    ]
