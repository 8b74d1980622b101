"""What the rows of a retention run say in plain sentences, and never more than they show."""

from collections.abc import Sequence

import numpy as np

from glassesjax.cache.readable import BY_HEART, may_know, unstated_obstacle
from glassesjax.files import Row
from glassesjax.report.fields import integer, not_finite
from glassesjax.report.numbers import decimal, percent
from glassesjax.report.orders import basis
from glassesjax.statistics.intervals import BLOCK, LEAST_BLOCKS, LEVEL, Interval, block_draws
from glassesjax.statistics.ranks import spearman
from glassesjax.studies.retention.cells import (
    PAPER_LENGTH,
    Cell,
    class_ratio,
    class_sums,
    paper_slots,
    rank_correlation,
    read_cells,
)
from glassesjax.studies.retention.words import PAPER_SLOTS, PAPER_STEPS
from glassesjax.tasks.word_classes import CLASSES

FEW = 10  # tokens that a class must have for a sentence to speak of it
EARLY = 25  # positions that the paper draws after the first
TAGS = {row.name: row.tags for row in CLASSES}


def retention_headlines(rows: Sequence[Row]) -> list[str]:
    """A few sentences on each cell, with their numbers.

    Args:
      rows: Rows of the retention study.

    Returns:
      Plain text: on the text, then cell by cell.

    Raises:
      ValueError: There is no whole cell.
    """
    cells = read_cells(rows)
    return [
        *not_finite(rows),
        *text_sentences(cells[0]),
        *(text for cell in cells for text in cell_sentences(cell)),
    ]


def text_sentences(cell: Cell) -> list[str]:
    """What must be known of the text before anything is read from its rows.

    Args:
      cell: Any of the run.

    Returns:
      Plain text: that nothing can be ranked on it, or that the model may know it by heart.
    """
    if obstacle := _obstacle(cell.summary):
        return [f"Nothing can be ranked here: {obstacle}."]
    perplexity = float(cell.summary.get("text_perplexity") or np.nan)
    if not may_know(perplexity):
        return []
    text = f"With everything kept the text's perplexity is {perplexity:.2f}, below {BY_HEART:g}"
    return [f"{text}: the model may know it by heart, and another text may be kept otherwise."]


def _obstacle(row: Row) -> str:
    """Why policies cannot be ranked by a run, of a summary of it; empty where they can."""
    if "ranking_obstacle" in row:
        return str(row["ranking_obstacle"] or "")
    return unstated_obstacle(row.get("text"), row.get("model"))  # rows of before they said it


def cell_sentences(cell: Cell) -> list[str]:
    """What the rows say of one policy with one number of slots.

    Args:
      cell: Its rows.

    Returns:
      Plain text; one sentence only where nothing was forgotten.
    """
    if cell.summary.get("finite") is False:
        return [f"{cell.name}: not finite, so that what is kept is no choice."]
    if cell.length <= cell.slots:
        return [f"{cell.name}: all {cell.length} tokens fit, and none is forgotten."]
    ranked = [] if _obstacle(cell.summary) else [_classes(cell), _beside_paper(cell)]
    said = [_recent(cell), _first(cell), *ranked, _alike(cell)]
    return [f"{cell.name}: {text}" for text in said if text]


def class_pairs(cell: Cell, least: int = FEW) -> dict[str, tuple[float, float]]:
    """Lifetimes over the mean, ours and the paper's, of the classes that have both.

    Args:
      cell: Its rows.
      least: Tokens that a class must have.

    Returns:
      By class; of several tags the mean.
    """
    spans = {name: paper_relative(cell, name) for name in _many(cell, least)}
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


def _many(cell: Cell, least: int = FEW) -> list[str]:
    count = lambda name: integer(cell.classes[name], "tokens")
    return [name for name in cell.classes if count(name) >= least]


def _recent(cell: Cell) -> str:
    shares = cell.of_layers("recent_share")
    span = f"{percent(shares.min())} to {percent(shares.max())} over the layers"
    text = f"{percent(cell.whole('recent_share'))} of what a layer holds is among the last"
    return f"{text} {cell.slots} positions ({span})."


def _first(cell: Cell) -> str:
    kept = round(cell.whole("first_held") * len(cell.layers))
    text = f"the first token is held to the end in {kept} of {len(cell.layers)} {cell.decisions}"
    early = cell.of_tokens("steps")[1 : EARLY + 1]
    rest = f"the {len(early)} after it last {decimal(early.mean())} in the mean"
    mean = decimal(cell.whole("steps"))
    return (
        f"{text} and lasts {decimal(cell.whole('first_steps'))} steps; {rest}, all tokens {mean}."
    )


def _classes(cell: Cell) -> str:
    """Which classes live longer than all tokens do, and which shorter, by their intervals."""
    names = _many(cell)
    if len(names) < 2:
        return ""
    blocks = -(-cell.length // BLOCK)
    if blocks < LEAST_BLOCKS:
        return f"no class is shown to live longer than others: {basis(blocks)}."
    ratios = {name: class_ratio(cell, name) for name in names}
    told = {name: ratio for name, ratio in ratios.items() if ratio.excludes(1.0)}
    each = lambda over: ", ".join(
        f"{name} {ratio.value:.2f} ({ratio.low:.2f} to {ratio.high:.2f})"
        for name, ratio in told.items()
        if (ratio.value > 1) == over
    )
    return (
        f"longer than the mean live {each(True) or 'none'}; shorter {each(False) or 'none'}"
        f" (multiples of it, {LEVEL:.0%} intervals over {blocks} blocks of {BLOCK} tokens, classes"
        f" of {FEW} tokens or more; {len(names) - len(told)} others are not told apart from it)."
    )


def _beside_paper(cell: Cell) -> str:
    pairs = class_pairs(cell)
    found = paper_correlation(cell)
    if np.isnan(found.value) or np.isnan(found.low):
        return ""
    column = f"k = {paper_slots(cell, PAPER_SLOTS)} of {PAPER_LENGTH} tokens"
    text = f"with the {len(pairs)} classes that the paper's Table 5 has a tag for"
    end = "" if found.excludes(0.0) else ", which tells no common order"
    span = f"{found.value:.2f} ({found.low:.2f} to {found.high:.2f})"
    return f"{text} ({column}, TOVA) the rank correlation is {span}{end}."


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


def _alike(cell: Cell) -> str:
    somewhere, everywhere = cell.whole("held_somewhere"), cell.whole("held_everywhere")
    text = f"after the last step {percent(somewhere)} of the tokens are held by at least one of the"
    end = f"{text} {cell.decisions}, {percent(everywhere)} by all."
    if np.isnan(cell.whole("overlap")):
        return end
    both = f"two layers hold {percent(cell.whole('overlap'))} of their tokens both"
    near = cell.of_layers("overlap_next")
    return f"{both}, neighbors {percent(float(np.nanmean(near)))}; {end}"
