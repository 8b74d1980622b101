"""The rows of a retention run, found again by policy and number of slots."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from glassesjax.files import Row
from glassesjax.report.fields import integer, number
from glassesjax.statistics.intervals import BLOCK, Interval, mean_ratio
from glassesjax.tasks.word_classes import CLASSES

PAPER_LENGTH = 4096  # tokens of the texts of the paper's Table 5


class Cell(NamedTuple):
    """All that was measured under one policy with one number of slots."""

    policy: str
    slots: int
    tokens: list[Row]
    """In reading order."""
    classes: dict[str, Row]
    layers: list[Row]
    """A row for each decision, first layer first."""
    summary: Row

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
        groups = len(self.layers) != integer(self.summary, "layers")
        return "key-value heads" if groups else "layers"

    def of_tokens(self, name: str) -> np.ndarray:
        """A field of each token."""
        return _numbers(self.tokens, name)

    def of_layers(self, name: str) -> np.ndarray:
        """A field of each layer, the mean over its decisions; NaN where there is none."""
        values, layers = _numbers(self.layers, name), _numbers(self.layers, "layer")
        return np.array([values[layers == layer].mean() for layer in np.unique(layers)])

    def whole(self, name: str) -> float:
        """A field of the summary; NaN where there is none."""
        return float(_numbers([self.summary], name)[0])

    def forgotten(self) -> list[np.ndarray]:
        """For each layer when its decisions forgot each token."""
        found: dict[int, list[list[int]]] = {}
        for row in self.layers:
            steps = [int(step) for step in str(row["forgotten"]).split(",")]
            found.setdefault(integer(row, "layer"), []).append(steps)
        return [np.array(steps) for steps in found.values()]

    def relative(self, name: str) -> float:
        """Mean lifetime of a class over that of all tokens."""
        return _numbers([self.classes[name]], "steps")[0] / self.whole("steps")


def read_cells(rows: Sequence[Row]) -> list[Cell]:
    """The cells of a run in the order of their rows.

    Args:
      rows: Rows of the retention study; a cell that was cut off is left out.

    Returns:
      At least one.

    Raises:
      ValueError: There is no whole cell.
    """
    found = [row for row in rows if row.get("study") == "retention"]
    names = dict.fromkeys((str(row["policy"]), integer(row, "slots")) for row in found)
    cells = [cell for policy, slots in names if (cell := _cell(found, policy, slots))]
    if not cells:
        seen = f"found none that is whole among {len(rows)}"
        raise ValueError(f"Wanted rows of the retention study; {seen}: run the study first.")
    return cells


def _cell(rows: Sequence[Row], policy: str, slots: int) -> Cell | None:
    mine = [row for row in rows if row["policy"] == policy and row["slots"] == slots]
    kind = lambda name: [row for row in mine if row["kind"] == name]
    in_order = lambda name, key: sorted(kind(name), key=lambda row: integer(row, key))
    classes = {str(row["class"]): row for row in kind("class")}
    ranked = {row.name: classes[row.name] for row in CLASSES if row.name in classes}
    by_decision = lambda row: (integer(row, "layer"), integer(row, "group"))
    layers = sorted(kind("layer"), key=by_decision)
    summary = kind("summary")
    tokens = in_order("token", "position")
    if not summary or len(tokens) != summary[0]["prompt_tokens"]:
        return None
    whole = len(layers) == summary[0]["decisions"]
    return Cell(policy, slots, tokens, ranked, layers, summary[0]) if whole else None


def _numbers(rows: Sequence[Row], name: str) -> np.ndarray:
    values = [number(row, name) for row in rows]
    return np.array([math.nan if value is None else value for value in values])


def class_sums(
    cell: Cell,
) -> tuple[dict[str, tuple[np.ndarray, np.ndarray]], np.ndarray, np.ndarray]:
    """Lifetimes and tokens by blocks of the text: of each class, and of all.

    Args:
      cell: Its rows.

    Returns:
      For each class the sum of its steps and the number of its tokens in each block; the sum of all
      steps; the number of all tokens.
    """
    steps = cell.of_tokens("steps")
    blocks = np.arange(len(steps)) // BLOCK
    names = np.array([str(row["class"]) for row in cell.tokens])
    count = int(blocks[-1]) + 1
    sums = lambda of: (
        np.bincount(blocks[of], weights=steps[of], minlength=count),
        np.bincount(blocks[of], minlength=count).astype(np.float64),
    )
    return {name: sums(names == name) for name in cell.classes}, *sums(names == names)


def class_ratio(cell: Cell, name: str) -> Interval:
    """Mean lifetime of a class over that of all tokens, with its interval over blocks of the text.

    Args:
      cell: Its rows.
      name: A class.

    Returns:
      The ratio; no interval with too few blocks.
    """
    classes, steps, tokens = class_sums(cell)
    return mean_ratio(*classes[name], steps, tokens)


def paper_slots(cell: Cell, columns: Sequence[int]) -> int | None:
    """The paper's number of slots that is the same share of its text.

    Args:
      cell: Ours.
      columns: Theirs.

    Returns:
      One of them; none where all are off by more than a factor of the root of two.
    """
    ratio = cell.length / cell.slots
    apart = {k: abs(math.log2(PAPER_LENGTH / k / ratio)) for k in columns}
    nearest = min(apart, key=lambda k: apart[k])
    return nearest if apart[nearest] <= 0.5 else None


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> float:
    """Spearman's: 1 where both order alike, -1 where one turns the order around.

    Args:
      first: Numbers.
      second: As many.

    Returns:
      The correlation of their ranks, ties sharing theirs; NaN for fewer than three.
    """
    if len(first) < 3:
        return math.nan
    ranks = [_ranks(np.asarray(values, np.float64)) for values in (first, second)]
    centered = [rank - rank.mean() for rank in ranks]
    sizes = math.prod(float(np.sqrt(np.sum(rank**2))) for rank in centered)
    return float(np.sum(centered[0] * centered[1])) / sizes if sizes else math.nan


def _ranks(values: np.ndarray) -> np.ndarray:
    below = np.sum(values[:, None] > values[None], axis=1)
    return below + (np.sum(values[:, None] == values[None], axis=1) - 1) / 2
