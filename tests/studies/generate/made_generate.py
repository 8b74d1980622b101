"""Rows of a generate run that never was: two texts, one of them beside the full state."""

from glassesjax.runs.record import from_row
from glassesjax.runs.run import Run
from glassesjax.studies.generate.records import ROWS, GenerateConstants
from glassesjax.studies.generate.run import result

LAYERS = 4
# position: (text, layers that cache it, first and last evicted at)
PROMPT = (("<b>", 4, None, None), (" a\n", 2, 5, None), ("c", 0, 3, 4))
BOUNDED = ((" x", 4, None, None), ("y", 1, 5, None), ("z", None, None, None))
WHOLE = ((" x", 4, None, None), ("w", 4, None, None), ("", None, None, None))
CONSTANTS = {
    "study": "generate", "model": "toy", "weights": "toy seed 0", "model_seed": 0, "seed": 0,
    "model_dim": 16, "num_layers": LAYERS, "rounding": "none", "positions": "none",
    "dtype": "float32", "mode": "exact", "temperature": 0.0, "top_p": 1.0,
}  # fmt: skip


def made_rows(policies=("tova", "full"), **changes):
    """Answers first, then prompts, as the study writes them."""
    return [row | changes for policy in policies for row in _of(policy)]


def _of(policy):
    answer = WHOLE if policy == "full" else BOUNDED
    for step, token in enumerate(answer):
        last = {"ended": "token" if policy == "full" else "length"}
        new = {"kind": "answer", "step": step, "logprob": -1.0 - step}
        new |= last if step == len(answer) - 1 else {}
        yield _token(policy, len(PROMPT) + step, token) | new | {"finite": True}
    for position, token in enumerate(PROMPT):
        retained = (token[0], 4, None, None) if policy == "full" else token
        yield _token(policy, position, retained) | {"kind": "prompt"}


def _token(policy, position, token):
    text, retained, first, last = token
    full = policy == "full"
    row = {
        "policy": policy, "position_ids": "original", "slots": 6 if full else 2,
        "bytes": 7168 if full else 3072, "tokens_per_second": None if full else 12.5, "prompt": 0,
        "position": position, "prompt_tokens": len(PROMPT), "token": sum(map(ord, text)),
        "token_text": text or "<end>", "text": text, "retained_layers": retained,
        "retained_share": None if retained is None else retained / LAYERS,
        "first_evicted_at": first, "last_evicted_at": last,
    }  # fmt: skip
    return {name: value for name, value in row.items() if value is not None}


def run_of(rows):
    """The run that has these rows."""
    return Run(
        settings={"study": "generate", "model": "toy", "prompt": "<script>alert(1)</script>"},
        rows=[ROWS.read(row) for row in rows],
        numbers=[0] * len(rows),
        records=[CONSTANTS | {"backend": "cpu"}],
        constants=from_row(GenerateConstants, CONSTANTS),
        provenance={"command": "glassesjax generate toy"},
    )


def made_result(rows=None):
    """The same with its summary."""
    return result(run_of(made_rows() if rows is None else rows))
