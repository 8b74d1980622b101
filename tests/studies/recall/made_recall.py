"""Answers of a recall run that never was: every field of a real one, every number known."""

from glassesjax.runs.record import from_row
from glassesjax.runs.run import Run
from glassesjax.studies.recall.records import ROWS, RecallConstants
from glassesjax.studies.recall.run import result

CONSTANTS = {
    "study": "recall", "model": "smollm2", "weights": "w", "weights_sha256": "00ff", "seed": 0,
    "model_dim": 576, "positions": "rotary", "words": 8, "hint": 0, "dtype": "float32",
    "rounding": "none", "num_layers": 30,
}  # fmt: skip


def made(policy, slots, nats, hits=(), task="verse", items=2, answer="and Lot"):
    """Rows of one cell; nats grow by 0.5 with each depth."""
    return [
        {
            "task": task, "length": 256, "item": item, "policy": policy, "slots": slots,
            "book": "Job", "passage_tokens": 250, "bytes": 1024, "depth": depth,
            "needle_depth": depth, "needle_tokens": 20, "question": "Job 1:1",
            "expected": "And Lot also", "prefill": "exact", "read_tokens": 260, "answer": answer,
            "exact": (item, depth) in hits, "f1": 0.8,
            "gold_nll": None if nats is None else nats + 0.5 * step, "finite": True,
            "gold_tokens": 3, "retained_share": 0.25,
        }
        for item in range(items)
        for step, depth in enumerate((0.1, 0.9))
    ]  # fmt: skip


def run_of(rows):
    """The run that has these rows."""
    return Run(
        settings={"study": "recall", "words": 8},
        rows=[ROWS.read(row) for row in rows],
        numbers=[0] * len(rows),
        records=[CONSTANTS | {"backend": "cpu"}],
        constants=from_row(RecallConstants, CONSTANTS),
        provenance={"command": "glassesjax recall smollm2"},
    )


def made_result(rows):
    """The same with its summary and figures."""
    return result(run_of(rows))
