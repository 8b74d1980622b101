"""Draws the phase diagram of docs/phase.md, and prints its tables.

What does low precision do to a head's mean? Relative errors over the number of tokens, the format
of the weights, the order in which they are stored and normalized, and the running sum. About two
minutes on two cores:

    python scripts/phase.py
    python scripts/phase.py --model none --logits rows.npy
"""

import dataclasses
import itertools
import json
import math
import time
from pathlib import Path

import numpy as np
import tyro
from phase_cells import (
    CHUNKS,
    LENGTHS,
    ORDERS,
    STORE,
    STORES,
    SUMS,
    borders,
    cells,
    crossing,
)
from phase_figure import LEVEL, phase_figure
from phase_rows import Measured, array_rows, equal_rows, gaussian_rows, model_rows

from glassesjax.files import to_json, write_by_rename
from glassesjax.report.chart import drawing


@dataclasses.dataclass(frozen=True)
class Settings:
    """Where low precision breaks a head's mean, measured and predicted."""

    rows: int = 5
    """Random rows of each kind; medians are shown."""
    seed: int = 0
    model: str = "smollm2"
    """Whose own logits are measured too; none for no model."""
    text: str = "ferry"
    """What the model reads."""
    tokens: int = 2048
    """How much of it."""
    logits: Path | None = None
    """A further kind: an array (rows, n) of logits, as numpy saves it. Shorter rows are its
    beginnings."""
    figure: Path = Path("docs/figures/phase.svg")
    """Where the figure goes."""
    out: Path = Path("runs/phase.json")
    """Where medians and largest errors of every cell go."""


def kinds(settings: Settings) -> list[Measured]:
    """All errors, the figure's first."""
    measured = [
        equal_rows(),
        gaussian_rows(settings.rows, settings.seed),
        gaussian_rows(settings.rows, settings.seed, of_values=True),
    ]
    if settings.model != "none":
        lengths = tuple(n for n in LENGTHS if n <= settings.tokens)
        heads = model_rows(settings.model, settings.text, lengths)
        every = [one.logits.reshape(-1, one.logits.shape[-1]) for one in heads]
        measured.append(array_rows(f"{settings.model}, all heads", every))
        # Its own values of one head a layer, at fewer lengths: a sum for each coordinate.
        few = heads[::2]
        first = [one.logits[:, 0] for one in few]
        name = f"{settings.model}, its values"
        measured.append(array_rows(name, first, [one.values for one in few]))
    if settings.logits is not None:
        given = np.load(settings.logits)
        lengths = [n for n in LENGTHS if n <= given.shape[1]]
        measured.append(array_rows(settings.logits.stem, [given[:, :n] for n in lengths]))
    return measured


def compared(kind: Measured) -> dict[str, float]:
    """How the measured lengths compare with the predicted ones, over all cells."""
    median = np.median(kind.errors, axis=1)
    seen = crossing(np.asarray(kind.lengths), median, LEVEL)
    predicted = borders().min(axis=-1)
    longest = kind.lengths[-1]
    inside = predicted <= longest / 2
    reached = np.isfinite(seen)
    ratios = (seen / predicted)[inside & reached]
    return {
        "cells": seen.size,
        "predicted to fail": int(inside.sum()),
        "of these fail": int((inside & reached).sum()),
        "fail within a factor of two": int(((ratios <= 2) & (ratios >= 0.5)).sum()),
        "least ratio": float(ratios.min(initial=math.inf)),
        "largest ratio": float(ratios.max(initial=0)),
        "predicted to stand": int((predicted > 2 * longest).sum()),
        "of these fail too": int(((predicted > 2 * longest) & reached).sum()),
    }


def table(kind: Measured) -> dict[str, dict[str, float]]:
    """Median and largest error at the longest length of chosen cells."""
    last = kind.errors[-1]
    chosen = {}
    for store, order, (i, j) in itertools.product(
        ("e8m7", "e4m3fn", "e4m3fn*256", "e5m2", "e8m2"),
        ORDERS,
        ((len(SUMS) - 1, len(CHUNKS) - 1), (0, 0), (0, 1), (1, 0), (2, 0)),
    ):
        at = [s.name for s in STORES].index(store)
        errors = last[:, at, ORDERS.index(order), i, j]
        name = f"{store}, {order}, sum of {SUMS[i].mantissa_bits} bits in chunks of {CHUNKS[j]}"
        chosen[name] = {"median": float(np.median(errors)), "largest": float(np.max(errors))}
    return chosen


def speeds(kind: Measured) -> dict[str, float]:
    """Errors by the mean speed of a running sum against measured ones, row by row."""
    seen = kind.errors[:, :, STORES.index(STORE), ORDERS.index("fused")]
    expected = np.asarray(kind.expected)  # (lengths, rows, sums, chunks), as the other
    apart = np.abs(expected - seen)
    at, row, i, j = np.unravel_index(np.argmax(apart), apart.shape)
    lengths = [
        crossing(np.asarray(kind.lengths), np.median(each, axis=1), LEVEL)
        for each in (seen, expected)
    ]
    both = np.isfinite(lengths[0]) & np.isfinite(lengths[1])
    ratios = lengths[0][both] / lengths[1][both]
    return {
        "largest difference": float(apart.max()),
        "at": f"n = {kind.lengths[at]}, {SUMS[i].mantissa_bits} bits, chunks of {CHUNKS[j]}",
        "expected": float(expected[at, row, i, j]),
        "seen": float(seen[at, row, i, j]),
        "least ratio of lengths": float(ratios.min()),
        "largest ratio of lengths": float(ratios.max()),
    }


def every_cell(kind: Measured) -> list[dict[str, object]]:
    """One record for each cell, for the file."""
    median, most = np.median(kind.errors, axis=1), np.max(kind.errors, axis=1)
    return [
        {
            "kind": kind.name,
            "store": STORES[i].name,
            "order": ORDERS[j],
            "sum_bits": SUMS[k].mantissa_bits,
            "chunk": CHUNKS[c],
            "predicted": [x if math.isfinite(x) else None for x in borders()[i, j, k, c].tolist()],
            "lengths": list(kind.lengths),
            "median": np.round(median[:, i, j, k, c], 8).tolist(),
            "largest": np.round(most[:, i, j, k, c], 8).tolist(),
        }
        for i, j, k, c in cells()
    ]


def main(settings: Settings) -> None:
    """Measures, draws, writes and prints."""
    start = time.perf_counter()
    measured = kinds(settings)
    shown = [kind for kind in measured if "values" not in kind.name]
    settings.figure.parent.mkdir(parents=True, exist_ok=True)
    write_by_rename(settings.figure, drawing(phase_figure(shown), "phase").file)
    settings.out.parent.mkdir(parents=True, exist_ok=True)
    records = [record for kind in measured for record in every_cell(kind)]
    write_by_rename(settings.out, to_json(records))
    for kind in measured:
        print(json.dumps({kind.name: compared(kind), "at": kind.lengths[-1]}))
        for name, values in table(kind).items():
            print(f"  {name}: {values['median']:.4f}, {values['largest']:.4f}")
        if kind.expected is not None:
            print("  by the mean speed of a running sum:", json.dumps(speeds(kind)))
    print(f"{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main(tyro.cli(Settings))
