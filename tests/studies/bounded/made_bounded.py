"""A bounded run that never was: every number known."""

from studies.collapse.made_rows import PROVENANCE

from glassesjax.runs.record import from_row
from glassesjax.runs.run import Run
from glassesjax.studies.bounded.records import ROWS, BoundedConstants
from glassesjax.studies.bounded.run import result

CONSTANTS = {
    "study": "bounded", "model": "toy", "weights": "toy seed 0", "model_seed": 0, "seed": 0,
    "model_dim": 64, "dtype": "float64", "rounding": "none", "num_layers": 3, "method": "exact",
    "layer_terms": 848,
}  # fmt: skip


def made_distances(policy, slots, gaps, least=None):
    """Distances by length; zero is equal."""
    must = {} if least is None else {"equal_from": least}
    return [
        {
            "kind": "collapse", "positions": "none", "policy": policy, "slots": slots,
            "bounded": policy != "full", "family": "ones_bos", "length": n, "norm": "l2",
            "distance": gap, "resolution": 1e-15, "equal": gap == 0, "finite": True,
            "same_bits": gap == 0, **must, "prompt_tokens": n + 1,
        }
        for n, gap in gaps.items()
    ]  # fmt: skip


def made_tokens(policy, sizes, cached):
    """Tokens of these norms, whose shares they are too, each cached in so many layers."""
    return [
        {
            "kind": "influence", "positions": "none", "policy": policy, "slots": 2,
            "bounded": policy != "full", "position": position, "token": position,
            "token_text": "abcd"[position], "frobenius": size, "finite": True, "spectral": size,
            "along": size, "input_norm": 1.0, "squared_share": size, "squared_share_along": size,
            "squared_share_scaled": size, "rollout": size, "log10_repaired": 9.0,
            "cached_layers": layers, "last_cached": 3, "reaches": size > 0, "prompt_tokens": 4,
        }
        for position, (size, layers) in enumerate(zip(sizes, cached, strict=True))
    ]  # fmt: skip


def run_of(rows, **constants):
    """The run that has these rows."""
    constants = CONSTANTS | constants
    return Run(
        settings={"study": "bounded", "model": "toy", "prompt": "<script>alert(1)</script>"},
        rows=[ROWS.read(row) for row in rows],
        numbers=[0] * len(rows),
        records=[constants | PROVENANCE],
        constants=from_row(BoundedConstants, constants),
        provenance={"command": "glassesjax bounded toy"},
    )


def result_of(rows, **constants):
    """The same with its summary and figures."""
    return result(run_of(rows, **constants))
