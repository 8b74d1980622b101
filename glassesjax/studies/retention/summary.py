"""The numbers that a retention run comes down to."""

import dataclasses
from typing import NamedTuple

import numpy as np

from glassesjax.cache.obstacles import Obstacle
from glassesjax.runs.run import Run
from glassesjax.runs.verdicts import Passes, passes
from glassesjax.statistics.intervals import BLOCK, LEAST_BLOCKS, LEVEL, Interval, block_draws
from glassesjax.statistics.ranks import spearman
from glassesjax.studies.retention.cells import (
    Cell,
    class_ratio,
    class_sums,
    paper_slots,
    rank_correlation,
    read_cells,
)
from glassesjax.studies.retention.records import RetentionConstants, RetentionRow
from glassesjax.studies.retention.words import PAPER_SLOTS, PAPER_STEPS
from glassesjax.tasks.word_classes import CLASSES

FEW = 10  # tokens that a class must have for a sentence to speak of it
EARLY = 25  # positions that the paper draws after the first
TAGS = {row.name: row.tags for row in CLASSES}


class ClassSummary(NamedTuple):
    """A class of tokens."""

    title: str
    tokens: int
    steps: float
    """Mean lifetime."""
    standard_error: float | None
    """Of ``steps``, over the tokens; None for one token."""
    survival_steps: float
    """The product-limit mean, which does not take the text's end for a token's end."""
    censored: float
    """Share of lifetimes that the text's end cut off."""
    over_mean: float
    """Its mean lifetime over that of all tokens."""
    interval: Interval | None
    """The same with its interval over blocks of the text; None for fewer than ``FEW`` tokens, or
    where nothing can be ranked."""
    paper: list[float]
    """The paper's, one a tag, at the same share of its text; empty where it has none."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class CellSummary:
    """One policy with one number of slots."""

    policy: str
    slots: int
    name: str
    """As a reader sees it."""
    finite: bool | None
    """Whether the representations of the pass are; None where the rows do not say."""
    tokens: int
    """Of the text."""
    decisions: int
    """How many there are."""
    deciders: str
    """What decides, in the plural."""
    steps: float
    """Mean lifetime."""
    recent_share: float
    """How much of what is cached is among the last ``slots`` positions; NaN where all fit."""
    recent_least: float
    """The same in the layer with the least."""
    recent_most: float
    first_cached: int
    """Decisions that cache the first token to the end."""
    first_steps: float
    """Its mean lifetime."""
    early_tokens: int
    """How many tokens behind the first are compared with it."""
    early_steps: float | None
    """Their mean lifetime; None where there are none."""
    blocks: int
    """Of the text, over which intervals are."""
    classes: list[ClassSummary]
    tied_classes: int
    """How many classes have an interval that does not leave out the mean of all tokens."""
    paper_slots: int | None
    """The paper's number of slots at the same share of its text; None where none is near."""
    paper_classes: int
    """How many classes are compared with the paper's."""
    paper_correlation: Interval | None
    """Spearman's coefficient over them; None where nothing can be ranked."""
    overlap: float | None
    """What two layers both cache, of what either does; None where there is one layer."""
    overlap_next: float | None
    """The same of neighbors."""
    cached_somewhere: float
    """Share of tokens that at least one decision caches after the last step."""
    cached_everywhere: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class RetentionSummary:
    """What a retention run says."""

    passes: Passes
    """Over all rows."""
    ranking_obstacle: Obstacle | None
    text_perplexity: float | None
    """With everything cached; None where nothing predicts the text."""
    cells: list[CellSummary]
    """In the order of the run."""


def summarize(run: Run[RetentionRow, RetentionConstants]) -> RetentionSummary:
    """The numbers of a run.

    Args:
      run: Of the retention study; a cell that was cut off is left out.

    Returns:
      Cell by cell.

    Raises:
      BadInput: There is no whole cell.
    """
    cells, obstacle = read_cells(run), run.constants.ranking_obstacle
    return RetentionSummary(
        passes=passes(row.finite for row in run.rows),
        ranking_obstacle=obstacle,
        text_perplexity=cells[0].summary.text_perplexity,
        cells=[cell_summary(cell, ranked=obstacle is None) for cell in cells],
    )


def cell_summary(cell: Cell, *, ranked: bool = True) -> CellSummary:
    """The numbers of one policy with one number of slots.

    Args:
      cell: Its rows.
      ranked: Whether anything can be ranked on this text.

    Returns:
      Its summary.
    """
    whole, shares, early = cell.summary, cell.recent_share, cell.steps[1 : EARLY + 1]
    near, evicts = cell.overlap_next, cell.length > cell.slots and whole.finite is not False
    ranks = ranked and evicts
    classes = [_class(cell, name, ranks=ranks) for name in cell.classes]
    intervals = [each.interval for each in classes if each.interval is not None]
    return CellSummary(
        policy=cell.policy,
        slots=cell.slots,
        name=cell.name,
        finite=whole.finite,
        tokens=cell.length,
        decisions=len(cell.layers),
        deciders=cell.decisions,
        steps=whole.steps,
        recent_share=whole.recent_share,
        recent_least=float(shares.min()),
        recent_most=float(shares.max()),
        first_cached=round(whole.first_cached_share * len(cell.layers)),
        first_steps=whole.mean_first_steps,
        early_tokens=len(early),
        early_steps=float(early.mean()) if len(early) else None,
        blocks=-(-cell.length // BLOCK),
        classes=classes,
        tied_classes=sum(not interval.excludes(1.0) for interval in intervals),
        paper_slots=paper_slots(cell, PAPER_SLOTS),
        paper_classes=len(class_pairs(cell)),
        paper_correlation=paper_correlation(cell) if ranks else None,
        overlap=whole.overlap,
        overlap_next=None if np.all(np.isnan(near)) else float(np.nanmean(near)),
        cached_somewhere=whole.cached_somewhere,
        cached_everywhere=whole.cached_everywhere,
    )


def _class(cell: Cell, name: str, *, ranks: bool) -> ClassSummary:
    row = cell.classes[name]
    return ClassSummary(
        title=name,
        tokens=row.tokens,
        steps=row.steps,
        standard_error=row.standard_error,
        survival_steps=row.survival_steps,
        censored=row.censored,
        over_mean=cell.relative(name),
        interval=class_ratio(cell, name) if ranks and row.tokens >= FEW else None,
        paper=paper_relative(cell, name),
    )


def class_pairs(cell: Cell, least: int = FEW) -> dict[str, tuple[float, float]]:
    """Lifetimes over the mean, ours and the paper's, of the classes that have both.

    Args:
      cell: Its rows.
      least: Tokens that a class must have.

    Returns:
      By class; of several tags the mean.
    """
    many = [name for name, row in cell.classes.items() if row.tokens >= least]
    spans = {name: paper_relative(cell, name) for name in many}
    return {name: (cell.relative(name), float(np.mean(s))) for name, s in spans.items() if s}


def paper_relative(cell: Cell, name: str) -> list[float]:
    """The paper's lifetimes over its average, at the same share of the text.

    Args:
      cell: Ours.
      name: A class.

    Returns:
      One a tag; none where the paper has no tag for it or no column near ours.
    """
    slots = paper_slots(cell, PAPER_SLOTS)
    if slots is None:
        return []
    column = PAPER_SLOTS.index(slots)
    return [PAPER_STEPS[tag][column] / PAPER_STEPS["average"][column] for tag in TAGS[name]]


def paper_correlation(cell: Cell, seed: int = 0) -> Interval:
    """Spearman's coefficient of our lifetimes by class and the paper's, over blocks of our text.

    Args:
      cell: Ours.
      seed: Of the draws.

    Returns:
      The coefficient with the middle ``LEVEL`` of those of texts whose blocks are drawn again; NaN
      where there are too few classes or blocks.
    """
    pairs = class_pairs(cell)
    theirs = np.array([value for _, value in pairs.values()])
    value = rank_correlation([ours for ours, _ in pairs.values()], theirs.tolist())
    classes, steps, _ = class_sums(cell)
    if np.isnan(value) or len(steps) < LEAST_BLOCKS:
        return Interval(value, np.nan, np.nan)
    draws = block_draws(len(steps), seed)
    sums, counts = (np.stack([classes[name][part] for name in pairs]) for part in (0, 1))
    drawn = draws @ counts.T
    kept = np.all(drawn > 0, axis=1)  # all classes have a mean
    means = draws[kept] @ sums.T / drawn[kept]
    again = spearman(means, np.broadcast_to(theirs, means.shape))
    low, high = np.nanquantile(again, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(value, float(low), float(high))
