"""Summary of a retention run."""

import dataclasses
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from glassesjax.cache.obstacles import Obstacle
from glassesjax.cache.readable import may_know
from glassesjax.runs.run import Run
from glassesjax.runs.verdicts import Passes, passes
from glassesjax.statistics.intervals import BLOCK, LEAST_BLOCKS, LEVEL, Interval, block_draws
from glassesjax.statistics.ranks import spearman
from glassesjax.studies.retention.cells import (
    Cell,
    class_ratio,
    class_sums,
    paper_slots,
    read_cells,
)
from glassesjax.studies.retention.paper import PAPER_SLOTS, PAPER_STEPS
from glassesjax.studies.retention.records import RetentionConstants, RetentionRow, SummaryRow
from glassesjax.tasks.word_classes import CLASSES

FEW = 10  # tokens that a class must have for an interval
LEAST_CLASSES = 3  # of two classes any order is a whole one
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
    evicts: bool
    """Whether anything is evicted, by a model that is finite."""
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
    longer: list[str]
    """Classes whose interval lies above the mean of all tokens, the longest-lived first."""
    shorter: list[str]
    """Those whose interval lies below it, the shortest-lived first."""
    num_longer: int
    num_shorter: int
    classes_compared: int
    """How many classes have an interval."""
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
    """Summary of a retention run."""

    passes: Passes
    """Over all rows."""
    ranking_obstacle: Obstacle | None
    text_perplexity: float | None
    """With everything cached; None where nothing predicts the text."""
    known_text: bool
    """Whether that is so low that the model may know the text by heart."""
    cells: list[CellSummary]
    """In the order of the run."""
    cut_off: list[str]
    """Policies of the settings that lack a number of slots which another has."""
    evicting: int
    """How many cells evict; the next five are over these."""
    recent_least: float | None
    """Of the cells' recent shares; None where none evicts, as are the next three."""
    recent_most: float | None
    first_least: float | None
    """Share of decisions that cache the first token to the end, of the cell with the least."""
    first_most: float | None
    keep_first: list[str]
    """Policies with which most decisions cache the first token to the end, at each number of
    slots."""
    kept_least: float | None
    """The least of these shares; None where no policy does, as is the next."""
    kept_most: float | None
    evict_first: list[str]
    """Those none of whose decisions do, at any."""

    @property
    def least_recent(self) -> CellSummary | None:
        """The cell that caches the fewest recent positions; None where none evicts."""
        return next((each for each in self.cells if each.recent_share == self.recent_least), None)

    @property
    def policies(self) -> list[str]:
        """Those of the cells, in their order."""
        return list(dict.fromkeys(each.policy for each in self.cells))


def summarize(run: Run[RetentionRow, RetentionConstants]) -> RetentionSummary:
    """Computes the summary of a run.

    Args:
      run: Of the retention study; a cell that was cut off is left out.

    Raises:
      BadInput: There is no whole cell.
    """
    whole, obstacle = read_cells(run), run.constants.ranking_obstacle
    cells = [cell_summary(cell, ranked=obstacle is None) for cell in whole]
    evicting = [each for each in cells if each.evicts]
    recent = [each.recent_share for each in evicting]
    # Of decisions that cache the first token to the end.
    share = lambda each: each.first_cached / each.decisions
    first = list(map(share, evicting))
    keep = _policies_with(evicting, lambda each: share(each) > 0.5)
    kept = [share(each) for each in evicting if each.policy in keep]
    policies, counts = run.settings.get("policies", ()), Counter(each.policy for each in cells)
    perplexity = whole[0].summary.text_perplexity
    return RetentionSummary(
        passes=passes(
            (row.finite for row in run.rows),
            rounding=run.constants.rounding,
            overflows=(row.overflow for row in run.rows if isinstance(row, SummaryRow)),
        ),
        ranking_obstacle=obstacle,
        text_perplexity=perplexity,
        known_text=perplexity is not None and may_know(perplexity),
        cells=cells,
        cut_off=[name for name in policies if counts[name] < max(counts.values())],
        evicting=len(evicting),
        recent_least=min(recent, default=None),
        recent_most=max(recent, default=None),
        first_least=min(first, default=None),
        first_most=max(first, default=None),
        keep_first=keep,
        kept_least=min(kept, default=None),
        kept_most=max(kept, default=None),
        evict_first=_policies_with(evicting, lambda each: each.first_cached == 0),
    )


def _policies_with(cells: Sequence[CellSummary], holds: Callable[[CellSummary], bool]) -> list[str]:
    """Policies of whose cells each one meets it."""
    names = dict.fromkeys(each.policy for each in cells)
    return [name for name in names if all(holds(each) for each in cells if each.policy == name)]


def cell_summary(cell: Cell, *, ranked: bool = True) -> CellSummary:
    """The numbers of one policy with one number of slots.

    Args:
      cell: Its rows.
      ranked: Whether anything can be ranked on this text.
    """
    whole, shares, early = cell.summary, cell.recent_share, cell.steps[1 : EARLY + 1]
    near, evicts = cell.overlap_next, cell.length > cell.slots and whole.finite is not False
    ranks = ranked and evicts
    classes = [_class(cell, name, ranks=ranks) for name in cell.classes]
    # Classes of few tokens have no interval, and are in no order.
    ratios = {each.title: each.interval for each in classes if each.interval is not None}
    apart = {name: each for name, each in ratios.items() if each.excludes(1.0)}
    # Only those whose interval leaves out the mean of all tokens.
    order = sorted(apart, key=lambda name: apart[name].value)
    longer = [name for name in reversed(order) if apart[name].value > 1]
    shorter = [name for name in order if apart[name].value < 1]
    return CellSummary(
        policy=cell.policy,
        slots=cell.slots,
        name=cell.name,
        finite=whole.finite,
        tokens=cell.length,
        evicts=evicts,
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
        longer=longer,
        shorter=shorter,
        num_longer=len(longer),
        num_shorter=len(shorter),
        classes_compared=len(ratios) if cell.length >= LEAST_BLOCKS * BLOCK else 0,
        tied_classes=len(ratios) - len(apart),
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
    """
    # Means of few tokens would be noise in the correlation.
    many = [name for name, row in cell.classes.items() if row.tokens >= least]
    spans = {name: paper_relative(cell, name) for name in many}
    return {name: (cell.relative(name), float(np.mean(s))) for name, s in spans.items() if s}


def paper_relative(cell: Cell, name: str) -> list[float]:
    """The paper's lifetimes over its average, at the same share of the text.

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

    Returns:
      The coefficient with the middle ``LEVEL`` of those of texts whose blocks are drawn again; NaN
      where there are too few classes or blocks.
    """
    pairs = class_pairs(cell)
    theirs = np.array([value for _, value in pairs.values()])
    if len(pairs) < LEAST_CLASSES:
        return Interval(np.nan, np.nan, np.nan)
    # A class with several tags has the mean of theirs, which ``class_pairs`` takes.
    value = float(spearman(np.array([ours for ours, _ in pairs.values()]), theirs))
    classes, steps, _ = class_sums(cell)
    if np.isnan(value) or len(steps) < LEAST_BLOCKS:
        return Interval(value, np.nan, np.nan)
    draws = block_draws(len(steps), seed)
    # (classes, blocks) each
    sums, counts = (np.stack([classes[name][part] for name in pairs]) for part in (0, 1))
    drawn = draws @ counts.T  # (draws, blocks) -> (draws, classes)
    kept = np.all(drawn > 0, axis=1)  # all classes have a mean
    means = draws[kept] @ sums.T / drawn[kept]
    # (draws, classes) against the same for all draws -> (draws,)
    again = spearman(means, np.broadcast_to(theirs, means.shape))
    low, high = np.nanquantile(again, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(value, float(low), float(high))
