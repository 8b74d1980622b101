"""Rows of a retention run that never was, as the study makes them from what was evicted."""

import numpy as np
from studies.collapse.made_rows import PROVENANCE

from glassesjax.runs.record import from_row, to_row
from glassesjax.runs.run import Run
from glassesjax.studies.retention.cells import read_cells
from glassesjax.studies.retention.records import ROWS, RetentionConstants
from glassesjax.studies.retention.rows import retention_rows

TEXTS = ["In", " the", " <b>", ".", "\n", "Go"]
# What TOVA evicts of a stream of six with three slots: 0, 1 and 3 after steps 3, 4 and 5.
TOVA = np.array([[3, 4, 6, 5, 6, 6]], np.int32)
SINK = np.array([[6, 3, 4, 5, 6, 6]], np.int32)


def made_rows(cells=(("tova", 3),), evicted=(TOVA, SINK), **changes):
    """Rows as they are written."""
    length = evicted[0].shape[1]
    texts = [TEXTS[at % len(TEXTS)] for at in range(length)]
    return [
        to_row(row)
        for cell in cells
        for row in retention_rows(range(length), texts, list(evicted), cell, **changes)
    ]


def run_of(rows, **changes):
    """The run that has these rows; its constants may be changed."""
    constants = {
        "study": "retention", "model": "toy", "weights": "some-q4_k.gguf", "seed": 0,
        "model_seed": 0, "model_dim": 16, "positions": "none", "text": "story",
        "prefill": "exact", "dtype": "float32", "rounding": "none",
        "num_layers": max((row["layer"] + 1 for row in rows if row["kind"] == "layer"), default=2),
        "prompt_tokens": max(row["position"] + 1 for row in rows if row["kind"] == "token"),
        **changes,
    }  # fmt: skip
    return Run(
        settings={"study": "retention", "model": "toy", "text": "<script>alert(1)</script>"},
        rows=[ROWS.read(row) for row in rows],
        numbers=[0] * len(rows),
        records=[PROVENANCE | constants],
        constants=from_row(RetentionConstants, constants),
        provenance={"command": "glassesjax retention toy"},
    )


def made_cell_of(cells=(("tova", 3),), evicted=(TOVA, SINK)):
    """The first cell of such rows."""
    return read_cells(run_of(made_rows(cells, evicted)))[0]
