"""Texts of a longform run that never was: every field of a real one, every number known."""

import math

from glassesjax.runs.record import from_row
from glassesjax.runs.run import Run
from glassesjax.studies.longform.records import ROWS, LongformConstants
from glassesjax.studies.longform.run import result

CONSTANTS = {
    "study": "longform", "model": "smollm2", "weights": "w", "model_seed": 0, "seed": 0,
    "model_dim": 16, "positions": "rotary", "temperature": 1.0, "max_tokens": 8, "chat": False,
    "top_p": 0.95, "prefill": "exact", "prompt_tokens": 4, "dtype": "float32", "rounding": "none",
    "num_layers": 2,
}  # fmt: skip


def made(policy, slots, sample, text, *, nll=0.5, agrees=8, ended=True, **changed):
    """A row; with a loss of None it is not finite."""
    shares = {f"distinct_{size}": 0.75 for size in (1, 2, 3, 4)}
    return {
        "policy": policy, "slots": slots, "bytes": 64,
        "sample": sample, "length": 8, "ended": ended, **shares, "repetition": 0.25,
        "full_nll": nll, "finite": nll is not None,
        "full_perplexity": None if nll is None or nll > 709 else math.exp(nll),
        "common_prefix": agrees, "text": text,
    } | changed  # fmt: skip


def run_of(rows):
    """The run that has these rows."""
    return Run(
        settings={"study": "longform", "samples": 2},
        rows=[ROWS.read(row) for row in rows],
        numbers=[0] * len(rows),
        records=[CONSTANTS | {"backend": "cpu"}],
        constants=from_row(LongformConstants, CONSTANTS),
        provenance={"command": "glassesjax longform smollm2"},
    )


def made_result(rows):
    """The same with its summary and figures."""
    return result(run_of(rows))
