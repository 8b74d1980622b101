"""What the rows of a retention run say in plain sentences, and never more than they show."""

from collections.abc import Sequence

import numpy as np

from glassesjax.records import Row
from glassesjax.report.influence_sentences import percent, told
from glassesjax.report.retention_cells import (
    PAPER_LENGTH,
    Cell,
    paper_slots,
    rank_correlation,
    read_cells,
)
from glassesjax.report.retention_words import PAPER_SLOTS, PAPER_STEPS
from glassesjax.tasks.word_classes import CLASSES

FEW = 10  # tokens that a class must have for a sentence to speak of it
NAMED = 3  # classes that a sentence names
EARLY = 25  # positions that the paper draws after the first
TAGS = {row.name: row.tags for row in CLASSES}


def retention_headlines(rows: Sequence[Row]) -> list[str]:
    """A few sentences on each cell, with their numbers.

    Args:
      rows: Rows of the retention study.

    Returns:
      Plain text, cell by cell.

    Raises:
      ValueError: There is no whole cell.
    """
    return [text for cell in read_cells(rows) for text in cell_sentences(cell)]


def cell_sentences(cell: Cell) -> list[str]:
    """What the rows say of one policy with one number of slots.

    Args:
      cell: Its rows.

    Returns:
      Plain text; one sentence only where nothing was forgotten.
    """
    if cell.length <= cell.slots:
        return [f"{cell.name}: all {cell.length} tokens fit, and none is forgotten."]
    said = [_recent(cell), _first(cell), _classes(cell), _beside_paper(cell), _alike(cell)]
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
    count = lambda name: int(cell.classes[name]["tokens"] or 0)
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
    rest = f"the {len(early)} after it last {told(early.mean())} in the mean"
    mean = told(cell.whole("steps"))
    return f"{text} and lasts {told(cell.whole('first_steps'))} steps; {rest}, all tokens {mean}."


def _classes(cell: Cell) -> str:
    order = sorted(_many(cell), key=lambda name: -cell.relative(name))
    if len(order) < 2 * NAMED:
        return ""
    each = lambda names: ", ".join(f"{name} {cell.relative(name):.2f}" for name in names)
    longest, shortest = each(order[:NAMED]), each(order[: -NAMED - 1 : -1])
    return (
        f"longest, as multiples of the mean, last {longest}; shortest {shortest}"
        f" (classes of {FEW} tokens or more)."
    )


def _beside_paper(cell: Cell) -> str:
    pairs = list(class_pairs(cell).values())
    found = rank_correlation([ours for ours, _ in pairs], [theirs for _, theirs in pairs])
    if np.isnan(found):
        return ""
    column = f"k = {paper_slots(cell, PAPER_SLOTS)} of {PAPER_LENGTH} tokens"
    text = f"the {len(pairs)} classes that the paper's Table 5 has a tag for"
    return f"{text} rank as there ({column}, TOVA) with a correlation of {found:.2f}."


def _alike(cell: Cell) -> str:
    somewhere, everywhere = cell.whole("held_somewhere"), cell.whole("held_everywhere")
    text = f"after the last step {percent(somewhere)} of the tokens are held by at least one of the"
    end = f"{text} {cell.decisions}, {percent(everywhere)} by all."
    if np.isnan(cell.whole("overlap")):
        return end
    both = f"two layers hold {percent(cell.whole('overlap'))} of their tokens both"
    near = cell.of_layers("overlap_next")
    return f"{both}, neighbors {percent(float(np.nanmean(near)))}; {end}"
