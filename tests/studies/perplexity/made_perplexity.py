"""Rows of a perplexity run that never was: every field of a real one, every number known."""

import math

import numpy as np
from studies.collapse.made_rows import PROVENANCE

from glassesjax.runs.record import from_row
from glassesjax.runs.run import Run
from glassesjax.studies.perplexity.records import ROWS, PerplexityConstants
from glassesjax.studies.perplexity.rows import block_tokens
from glassesjax.studies.perplexity.run import result

TOKENS = 64  # in each stretch
FULL_SLOTS = 128
BYTES = 2**20  # for 63 slots and the one more
CONSTANTS = {
    "study": "perplexity", "model": "toy", "weights": "small.Q4_0.gguf", "weights_sha256": "00ff",
    "model_seed": 0, "seed": 0, "model_dim": 16, "positions": "rotary", "text": "<b>.txt",
    "span": "windows", "window_tokens": FULL_SLOTS, "position_ids": "original",
    "dtype": "float32", "rounding": "none", "num_layers": 2,
}  # fmt: skip

# Perplexities by policy and size, and for ``full`` by name alone.
KNOWN = {
    "full": 10.0,
    "short": {31: 40.0, 63: 20.0},
    "window": {31: 2000.0, 63: 200.0},
    "window+4": {31: 25.0, 63: 16.0},
    "tova": {31: 22.0, 63: 12.5},
}


def made_rows(perplexities, windows=2):
    """The same perplexity in each stretch: by policy and size, and for ``full`` by name alone."""
    return [
        _row(policy, slots, window, start, value)
        for policy, found in perplexities.items()
        for slots, value in (found if policy != "full" else {FULL_SLOTS: found}).items()
        for window in range(windows)
        for start in (0, 64)
    ]


def _row(policy, slots, window, start, perplexity):
    each = math.nan if perplexity is None else math.log(perplexity)
    return {
        "policy": policy, "slots": slots,
        "prefill": "chunked" if policy in ("full", "short") else "exact",
        "bytes": BYTES // 64 * (slots + 1), "window": window, "start": start, "tokens": TOKENS,
        "nll": None if perplexity is None else TOKENS * math.log(perplexity),
        "finite": perplexity is not None,
        "block_losses": [each * size for size in block_tokens(start, TOKENS)],
        "perplexity": perplexity, "tokens_per_second": 32.0,
    }  # fmt: skip


def run_of(rows, arrays=None, **changes):
    """The run that has these rows and arrays; its constants may be changed."""
    formats = list(dict.fromkeys(row["format"] for row in rows if "format" in row))
    if formats:
        changes |= {"dtype": None, "rounding": None}
    constants = {name: v for name, v in (CONSTANTS | changes).items() if v is not None}
    return Run(
        settings={
            "study": "perplexity", "model": "toy", "text": "<script>alert(1)</script>",
            "formats": formats or ["f32"],
        },
        rows=[ROWS.read(row) for row in rows],
        numbers=[0] * len(rows),
        records=[constants | PROVENANCE],
        constants=from_row(PerplexityConstants, constants),
        provenance={"command": "glassesjax perplexity toy"},
        arrays=arrays or {},
    )  # fmt: skip


def in_formats(rows, factors):
    """The rows once for each format, with these perplexities over their own; None overflows."""
    for name, factor in factors.items():
        for row in rows:
            tokens = block_tokens(row["start"], row["tokens"])
            moved = {"finite": False, "nll": None, "perplexity": None}
            moved |= {"overflow_site": "residual", "overflow_layer": 1}
            moved |= {"block_losses": [math.nan] * len(tokens)}
            if factor is not None:
                step = math.log(factor)
                pairs = zip(row["block_losses"], tokens, strict=True)
                losses = [loss + count * step for loss, count in pairs]
                moved = {"block_losses": losses, "nll": row["nll"] + row["tokens"] * step}
                moved["perplexity"] = row["perplexity"] * factor
            yield {"format": name, **row, **moved}


def with_tokens(rows):
    """The same rows with the losses of their tokens, equal within a block, and these arrays."""
    new, arrays = [], {}
    for row in rows:
        name = "/".join(str(row[part]) for part in ("policy", "slots", "window", "start"))
        counts = block_tokens(row["start"], row["tokens"])
        sums = [math.nan if loss is None else loss for loss in row["block_losses"]]
        arrays[name] = np.repeat(np.divide(sums, counts), counts)
        new.append({k: v for k, v in row.items() if k != "block_losses"} | {"token_losses": name})
    return new, arrays


def made_result(rows, arrays=None, **changes):
    """The same with its summary and figures."""
    return result(run_of(rows, arrays, **changes))
