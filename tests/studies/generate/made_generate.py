"""Rows of a generate run that never was: two texts, one of them beside the full state."""

from studies.collapse.made_rows import PROVENANCE

LAYERS = 4
# position: (text, layers that hold it, first and last forgotten)
PROMPT = (("<b>", 4, None, None), (" a\n", 2, 5, None), ("c", 0, 3, 4))
BOUNDED = ((" x", 4, None, None), ("y", 1, 5, None), ("z", None, None, None))
WHOLE = ((" x", 4, None, None), ("w", 4, None, None), ("", None, None, None))


def made_rows(policies=("tova", "full"), **changes):
    """Answers first, then prompts, as the study writes them."""
    return [row | changes for policy in policies for row in _of(policy)]


def _of(policy):
    answer = WHOLE if policy == "full" else BOUNDED
    for step, token in enumerate(answer):
        last = "token" if policy == "full" else "length"
        said = {"part": "answer", "step": step, "logprob": -1.0 - step}
        ended = last if step == len(answer) - 1 else None
        yield _token(policy, len(PROMPT) + step, token) | said | {"ended": ended}
    for position, token in enumerate(PROMPT):
        held = (token[0], 4, None, None) if policy == "full" else token
        said = {"part": "prompt", "step": None, "logprob": None, "ended": None}
        yield _token(policy, position, held) | said


def _token(policy, position, token):
    text, held, first, last = token
    full = policy == "full"
    return PROVENANCE | {
        "study": "generate", "model": "toy", "policy": policy, "spacing": "true",
        "slots": 6 if full else 2, "bytes": 7168 if full else 3072, "layers": LAYERS, "width": 16,
        "dtype": "float32", "rounding": "none", "mode": "exact", "temperature": 0.0,
        "top_k": None, "top_p": 1.0, "seed": 0, "positions": "none", "weights": "toy seed 0",
        "tokens_per_second": None if full else 12.5, "prompt": 0, "position": position,
        "prompt_tokens": len(PROMPT), "token": sum(map(ord, text)), "text": text,
        "token_text": text or "<end>", "held": held,
        "held_share": None if held is None else held / LAYERS,
        "first_forgotten": first, "last_forgotten": last,
    }  # fmt: skip
