"""Rows of a perplexity run that never was: every field of a real one, every number known."""

import math

from studies.collapse.made_rows import PROVENANCE

from glassesjax.studies.perplexity.rows import block_tokens

TOKENS = 64  # in each stretch
FULL_SLOTS = 128
BYTES = 2**20  # for 63 slots and the one more


def made_rows(perplexities, windows=2, **changes):
    """The same perplexity in each stretch: by policy and size, and for ``full`` by name alone."""
    return [
        _row(policy, slots, window, start, value) | changes
        for policy, found in perplexities.items()
        for slots, value in (found if policy != "full" else {FULL_SLOTS: found}).items()
        for window in range(windows)
        for start in (0, 64)
    ]


def _row(policy, slots, window, start, perplexity):
    each = math.nan if perplexity is None else math.log(perplexity)
    return PROVENANCE | {
        "study": "perplexity", "model": "toy", "positions": "rotary", "text": "<b>.txt",
        "span": "windows", "window_tokens": FULL_SLOTS, "spacing": "true", "dtype": "float32",
        "rankable": True, "ranking_obstacle": "", "rounding": "none", "width": 16, "layers": 2,
        "policy": policy, "slots": slots,
        "prefill": "chunked" if policy in ("full", "short") else "exact",
        "bytes": BYTES // 64 * (slots + 1), "window": window, "start": start, "tokens": TOKENS,
        "nll": None if perplexity is None else TOKENS * math.log(perplexity),
        "block_losses": ",".join(repr(each * size) for size in block_tokens(start, TOKENS)),
        "perplexity": perplexity, "tokens_per_second": 32.0,
    }  # fmt: skip
