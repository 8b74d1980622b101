"""Index of the rows of a retention run by policy and number of slots."""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeVar

import numpy as np

from glassesjax.errors import BadInput
from glassesjax.runs.run import Run
from glassesjax.statistics.intervals import BLOCK, Interval, mean_ratio
from glassesjax.studies.retention.records import (
    CLASS_TITLES,
    ClassRow,
    LayerRow,
    RetentionConstants,
    RetentionRow,
    SummaryRow,
    TokenRow,
)
from glassesjax.tasks.word_classes import CLASSES

PAPER_LENGTH = 4096  # tokens of the texts of the paper's Table 5

RowT = TypeVar("RowT")


class Cell(NamedTuple):
    """All that was measured under one policy with one number of slots."""

    policy: str
    slots: int
    tokens: list[TokenRow]
    """In reading order."""
    classes: dict[str, ClassRow]
    """By title."""
    layers: list[LayerRow]
    """A row for each decision, first layer first."""
    summary: SummaryRow
    num_layers: int

    @property
    def name(self) -> str:
        """As a reader sees it."""
        return f"{self.policy}, {self.slots} slots"

    @property
    def length(self) -> int:
        """Number of tokens."""
        return len(self.tokens)

    @property
    def decisions(self) -> str:
        """What decides, in the plural."""
        return "key-value heads" if len(self.layers) != self.num_layers else "layers"

    @property
    def steps(self) -> np.ndarray:
        """The lifetime of each token."""
        return np.array([row.steps for row in self.tokens])

    @property
    def cached(self) -> np.ndarray:
        """Of each token the share of decisions that cache it after the last step."""
        return np.array([row.cached for row in self.tokens])

    @property
    def titles(self) -> list[str]:
        """The class of each token, by title."""
        return [CLASS_TITLES.get(row.word_class, row.word_class) for row in self.tokens]

    @property
    def recent_share(self) -> np.ndarray:
        """Of each layer, the mean over its decisions; so are the next two."""
        return self._by_layer(row.recent_share for row in self.layers)

    @property
    def first_steps(self) -> np.ndarray:
        """The lifetime of the first token."""
        return self._by_layer(row.first_steps for row in self.layers)

    @property
    def overlap_next(self) -> np.ndarray:
        """NaN for the last layer."""
        values = (row.overlap_next for row in self.layers)
        return self._by_layer(math.nan if value is None else value for value in values)

    def _by_layer(self, decisions: Iterable[float]) -> np.ndarray:
        # (decisions,) -> (layers,)
        values, layers = np.array(list(decisions)), np.array([row.layer for row in self.layers])
        return np.array([values[layers == layer].mean() for layer in np.unique(layers)])

    def evicted(self) -> list[np.ndarray]:
        """For each layer when its decisions evicted each token."""
        steps: dict[int, list[tuple[int, ...]]] = {}
        for row in self.layers:
            steps.setdefault(row.layer, []).append(row.evicted)
        return [np.array(each) for each in steps.values()]

    def relative(self, name: str) -> float:
        """Mean lifetime of a class over that of all tokens."""
        return self.classes[name].steps / self.summary.steps


def read_cells(run: Run[RetentionRow, RetentionConstants]) -> list[Cell]:
    """The cells of a run in the order of their rows.

    Raises:
      BadInput: There is no whole cell.
    """
    cells, shared = [], run.constants
    for policy, slots in dict.fromkeys((row.policy, row.slots) for row in run.rows):
        mine = [row for row in run.rows if (row.policy, row.slots) == (policy, slots)]
        classes = {CLASS_TITLES.get(row.word_class): row for row in _of(ClassRow, mine)}
        ranked = {row.name: classes[row.name] for row in CLASSES if row.name in classes}
        layers = sorted(_of(LayerRow, mine), key=lambda row: (row.layer, row.group))
        tokens = sorted(_of(TokenRow, mine), key=lambda row: row.position)
        summary = _of(SummaryRow, mine)
        # A cell that was cut off, or of which rows are lost, is left out.
        whole = summary and len(layers) == summary[0].decisions
        if whole and len(tokens) == shared.prompt_tokens:
            cell = Cell(policy, slots, tokens, ranked, layers, summary[0], shared.num_layers)
            cells.append(cell)
    if not cells:
        expected = "Expected rows of the retention study with all of a policy and number of slots"
        raise BadInput(f"{expected}, got none that is whole among {len(run.rows)}: run it on.")
    return cells


def _of(kind: type[RowT], rows: Sequence[object]) -> list[RowT]:
    return [row for row in rows if isinstance(row, kind)]


def class_sums(
    cell: Cell,
) -> tuple[dict[str, tuple[np.ndarray, np.ndarray]], np.ndarray, np.ndarray]:
    """Lifetimes and tokens by blocks of the text: of each class, and of all.

    Returns:
      For each class the sum of its steps and the number of its tokens in each block; the sum of all
      steps; the number of all tokens.
    """
    steps = cell.steps
    # The block of each token; the last one may be shorter.
    blocks = np.arange(len(steps)) // BLOCK
    names = np.array(cell.titles)
    count = int(blocks[-1]) + 1
    # (seq,) -> (blocks,)
    sums = lambda of: (
        np.bincount(blocks[of], weights=steps[of], minlength=count),
        np.bincount(blocks[of], minlength=count).astype(np.float64),
    )
    return {name: sums(names == name) for name in cell.classes}, *sums(names == names)


def class_ratio(cell: Cell, name: str) -> Interval:
    """Mean lifetime of a class over that of all tokens, with an interval over blocks."""
    classes, steps, tokens = class_sums(cell)
    return mean_ratio(*classes[name], steps, tokens)


def paper_slots(cell: Cell, columns: Sequence[int]) -> int | None:
    """The paper's number of slots that is the same share of its text.

    Returns:
      One of them; none where all are off by more than a factor of the root of two.
    """
    ratio = cell.length / cell.slots
    # In octaves, so that half and twice as many slots are as far apart.
    apart = {k: abs(math.log2(PAPER_LENGTH / k / ratio)) for k in columns}
    nearest = min(apart, key=lambda k: apart[k])
    return nearest if apart[nearest] <= 0.5 else None
