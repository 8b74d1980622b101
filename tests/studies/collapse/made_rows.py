"""Rows of a collapse run that never was: every field of a real one, every number known."""

from glassesjax.runs.constants import ModelConstants
from glassesjax.runs.record import from_row
from glassesjax.runs.run import Run
from glassesjax.studies.collapse.formats import cell_format
from glassesjax.studies.collapse.records import ROWS
from glassesjax.studies.collapse.run import result

LENGTHS = (1, 2, 4, 8, 16, 32)
FAMILIES = ("ones_bos", "ones_zero")
NORMS = ("l1", "l2", "linf", "relative_l1", "ulp")
WIDTH = 16
NOISE = 8  # in unit roundoffs
RESOLUTION = 8 * NOISE * 2.0**-53  # of wide rows: eight times float32's noise, scaled to float64
PROVENANCE = {
    "backend": "cpu",
    "device": "cpu",
    "matmul_precision": "highest",
    "python": "3.11.0",
    "machine": "x86_64",
    "xla_flags": "",
    "glassesjax": "0.1.0",
    "jax": "0.10.2",
    "jaxlib": "0.10.2",
    "flax": "0.12.8",
    "numpy": "2.4.0",
    "weights": "small.Q4_0.gguf",
    "weights_sha256": "00ff",
    "seed": 0,
}
CONSTANTS = {
    "study": "collapse", "model": "toy", "weights": "small.Q4_0.gguf", "weights_sha256": "00ff",
    "model_seed": 0, "seed": 0, "model_dim": WIDTH,
}  # fmt: skip


LAYERS = {
    "entry_distance": 0.0,
    "layers_distance": 0.125,
    "layers_bound": 4096.0,
    "without_bound": ["R4"],
    "exceeded": [],
}


def made_rows(
    positions=("rotary",),
    families=FAMILIES,
    formats=("f32", "bf16"),
    lengths=LENGTHS,
    signal=lambda n: 1 / n,
    token="1",
    overflow=(),
    **layers,
):
    """Signal as given, noise of eight unit roundoffs, all that is below half of one equal.

    Formats of ``overflow`` are not finite from length 4 on.

    Theorem 4.2 of the layers is in rows of the first format and the longest length, as given.
    """
    bounds = LAYERS | layers
    here = {"curve": "signal", "mode": "reference", "norm": "l1", "format": formats[0]}
    here["length"], here["repeats_last"] = max(lengths), True
    return [
        row | (bounds if here.items() <= row.items() else {})
        for where in positions
        for name in formats
        for family in families
        for n in lengths
        for row in _rows(where, name, family, n, signal, token)
        for row in [_lost(row, n) if name in overflow and n >= 4 else row]
    ]


def _lost(row, n):
    """A row of a format's own arithmetic that is not finite."""
    if row["mode"] == "reference":
        return row
    detected = ("cosine", "chance", "projection", "projection_noise", "detectable")
    kept = {name: value for name, value in row.items() if name not in detected}
    first = (row["curve"], row["norm"], n) == ("signal", "l2", 4)
    site = {"overflow_site": "residual", "overflow_layer": 2} if first else {}
    return kept | {"distance": None, "resolution": None} | site


def _rows(positions, name, family, n, signal, token):
    known = cell_format(name)
    unit_roundoff = known.unit_roundoff
    noise, gap = NOISE * unit_roundoff, signal(n)
    own = known.plan.mode
    lost = gap is not None and gap < unit_roundoff / 2
    distances = {("signal", "reference"): gap}
    if known.storage is not None:
        distances["rounded", "reference"] = 0.0 if lost else gap
    if name != "f64":  # which is the wide arithmetic itself
        distances["signal", own] = None if gap is None else max(gap, noise)
        distances["noise_floor", own] = noise
    head = {
        "positions": positions, "format": name,
        "family": family, "length": n, "prompt_tokens": n + 1, "longer_prompt_tokens": n + 2,
        "repeats_last": family != "ones_zero", "same_last": True, "finite": True,
    }  # fmt: skip
    for (curve, mode), distance in distances.items():
        for norm in NORMS:
            unit = 2 * unit_roundoff if norm == "ulp" else 1  # as if all coordinates were near one
            yield head | {
                "mode": mode,
                "curve": curve,
                "norm": norm,
                "distance": None if distance is None else distance / unit,
                "resolution": (noise if (curve, mode) == ("signal", own) else RESOLUTION) / unit,
                "equal_coordinates": WIDTH if distance == 0 else 0,
                "unit_roundoff": unit_roundoff,
                "dtype": "float64" if mode == "reference" else name,
                "rounding": mode,
                **(_answer(gap, token, mode) if (curve, norm) == ("signal", "l2") else {}),
                **(_detection(gap, noise) if (curve, mode, norm) == ("signal", own, "l2") else {}),
                **(_steps(gap, lost) if (curve, norm) == ("rounded", "ulp") else {}),
            }


def _answer(gap, token, mode):
    greedy = {"token": 5, "token_text": token, "margin": 0.25}
    if mode != "reference":
        return greedy
    used = None if gap is None else 4 * gap
    return greedy | {"margin_used": used, "certified": used is not None and used < 1}


def _detection(gap, noise):
    if gap is None or gap <= RESOLUTION:
        return {}
    beside = {"cosine": 1.0, "chance": 0.25, "projection": 1.0, "projection_noise": noise / gap / 4}
    return beside | {"detectable": gap >= noise}


def _steps(gap, lost):
    return {} if gap is None else {"ulp_distance": int(not lost)}


def run_of(rows):
    """The run that has these rows."""
    return Run(
        settings={
            "devices": 1,
            "study": "collapse",
            "model": "toy",
            "note": "<script>alert(1)</script>",
        },
        rows=[ROWS.read(row) for row in rows],
        numbers=[0] * len(rows),
        records=[CONSTANTS | PROVENANCE],
        constants=from_row(ModelConstants, CONSTANTS),
        provenance={"command": "glassesjax collapse toy"},
    )


def made_run(**changes):
    """A run of made rows."""
    return run_of(made_rows(**changes))


def made_result(rows=None, **changes):
    """The same with its summary and figures."""
    return result(run_of(made_rows(**changes) if rows is None else rows))
