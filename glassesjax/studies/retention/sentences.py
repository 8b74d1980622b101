"""What the rows of a retention run say in plain sentences, and never more than they show."""

import math

from glassesjax.cache.obstacles import OBSTACLES
from glassesjax.cache.readable import BY_HEART, may_know
from glassesjax.report.numbers import decimal, percent
from glassesjax.report.orders import basis
from glassesjax.statistics.intervals import BLOCK, LEAST_BLOCKS, LEVEL
from glassesjax.studies.retention.cells import PAPER_LENGTH
from glassesjax.studies.retention.summary import FEW, CellSummary, RetentionSummary


def headline(summary: RetentionSummary) -> str:
    """The run in a line, its numbers first.

    Args:
      summary: Of the run.

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


def retention_headlines(summary: RetentionSummary) -> list[str]:
    """A few sentences on each cell, with their numbers.

    Args:
      summary: Of the run.

    Returns:
      Plain text: on the text, then cell by cell.
    """
    return [
        *summary.passes.sentences(),
        *text_sentences(summary),
        *(text for cell in summary.cells for text in cell_sentences(cell)),
    ]


def text_sentences(summary: RetentionSummary) -> list[str]:
    """What must be known of the text before anything is read from its rows.

    Args:
      summary: Of the run.

    Returns:
      Plain text: that nothing can be ranked on it, or that the model may know it by heart.
    """
    if summary.ranking_obstacle:
        return [f"Nothing can be ranked here: {OBSTACLES[summary.ranking_obstacle]}."]
    perplexity = summary.text_perplexity
    if perplexity is None or not may_know(perplexity):
        return []
    text = f"With everything kept the text's perplexity is {perplexity:.2f}, below {BY_HEART:g}"
    return [f"{text}: the model may know it by heart, and another text may be kept otherwise."]


def cell_sentences(cell: CellSummary) -> list[str]:
    """What the rows say of one policy with one number of slots.

    Args:
      cell: Its summary.

    Returns:
      Plain text; one sentence only where nothing was evicted.
    """
    if cell.finite is False:
        return [f"{cell.name}: not finite, so that what is kept is no choice."]
    if cell.tokens <= cell.slots:
        return [f"{cell.name}: all {cell.tokens} tokens fit, and none is forgotten."]
    sentences = [_recent(cell), _first(cell), _classes(cell), _beside_paper(cell), _alike(cell)]
    return [f"{cell.name}: {text}" for text in sentences if text]


def _recent(cell: CellSummary) -> str:
    span = f"{percent(cell.recent_least)} to {percent(cell.recent_most)} over the layers"
    text = f"{percent(cell.recent_share)} of what a layer holds is among the last"
    return f"{text} {cell.slots} positions ({span})."


def _first(cell: CellSummary) -> str:
    of = f"{cell.first_cached} of {cell.decisions} {cell.deciders}"
    text = f"the first token is held to the end in {of} and lasts {decimal(cell.first_steps)} steps"
    early = decimal(math.nan if cell.early_steps is None else cell.early_steps)
    rest = f"the {cell.early_tokens} after it last {early} in the mean"
    return f"{text}; {rest}, all tokens {decimal(cell.steps)}."


def _classes(cell: CellSummary) -> str:
    """Which classes live longer than all tokens do, and which shorter, by their intervals."""
    ratios = {each.title: each.interval for each in cell.classes if each.interval is not None}
    if len(ratios) < 2:
        return ""
    if cell.blocks < LEAST_BLOCKS:
        return f"no class is shown to live longer than others: {basis(cell.blocks)}."
    apart = {name: ratio for name, ratio in ratios.items() if ratio.excludes(1.0)}
    each = lambda over: ", ".join(
        f"{name} {ratio.value:.2f} ({ratio.low:.2f} to {ratio.high:.2f})"
        for name, ratio in apart.items()
        if (ratio.value > 1) == over
    )
    return (
        f"longer than the mean live {each(True) or 'none'}; shorter {each(False) or 'none'}"
        f" (multiples of it, {LEVEL:.0%} intervals over {cell.blocks} blocks of {BLOCK} tokens,"
        f" classes of {FEW} tokens or more; {cell.tied_classes} others are not told apart"
        " from it)."
    )


def _beside_paper(cell: CellSummary) -> str:
    rank = cell.paper_correlation
    if rank is None or math.isnan(rank.value) or math.isnan(rank.low):
        return ""
    column = f"k = {cell.paper_slots} of {PAPER_LENGTH} tokens"
    text = f"with the {cell.paper_classes} classes that the paper's Table 5 has a tag for"
    end = "" if rank.excludes(0.0) else ", which tells no common order"
    span = f"{rank.value:.2f} ({rank.low:.2f} to {rank.high:.2f})"
    return f"{text} ({column}, TOVA) the rank correlation is {span}{end}."


def _alike(cell: CellSummary) -> str:
    somewhere, everywhere = percent(cell.cached_somewhere), percent(cell.cached_everywhere)
    text = f"after the last step {somewhere} of the tokens are held by at least one of the"
    end = f"{text} {cell.deciders}, {everywhere} by all."
    if cell.overlap is None or cell.overlap_next is None or math.isnan(cell.overlap):
        return end
    both = f"two layers hold {percent(cell.overlap)} of their tokens both"
    return f"{both}, neighbors {percent(cell.overlap_next)}; {end}"
