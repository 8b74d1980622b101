"""Rows of a collapse run that never was: every field of a real one, every number known."""

from glassesjax.precision import float_format

LENGTHS = (1, 2, 4, 8, 16, 32)
FAMILIES = ("ones_bos", "ones_zero")
NORMS = ("l1", "l2", "linf", "relative_l1", "ulp")
WIDTH = 16
NOISE = 8  # in unit roundoffs
RESOLUTION = 8 * NOISE * 2.0**-53  # of wide rows: eight times float32's noise, scaled to float64
PROVENANCE = {
    "backend": "cpu", "device": "cpu", "matmul_precision": "highest", "python": "3.11.0",
    "machine": "x86_64", "xla_flags": "", "glassesjax": "0.1.0", "jax": "0.10.2",
    "jaxlib": "0.10.2", "flax": "0.12.8", "numpy": "2.4.0", "weights": "small.Q4_0.gguf",
    "weights_sha256": "00ff", "seed": 0,
}  # fmt: skip


def made_rows(
    positions=("rotary",),
    families=FAMILIES,
    formats=("f32", "bf16"),
    lengths=LENGTHS,
    signal=lambda n: 1 / n,
    token="1",
):
    """Signal as given, noise of eight unit roundoffs, all that is below half of one equal."""
    return [
        row
        for where in positions
        for name in formats
        for family in families
        for n in lengths
        for row in _rows(where, name, family, n, signal, token)
    ]


def _rows(positions, name, family, n, signal, token):
    unit_roundoff = float_format(name).unit_roundoff
    noise, gap = NOISE * unit_roundoff, signal(n)
    own = "native" if name in ("f32", "bf16", "f16") else "simulated"
    lost = gap is not None and gap < unit_roundoff / 2
    distances = {("signal", "wide"): gap, ("rounded", "wide"): 0.0 if lost else gap}
    if name != "f64":  # which is the wide arithmetic itself
        distances["signal", own] = None if gap is None else max(gap, noise)
        distances["noise_floor", own] = noise
    head = PROVENANCE | {
        "study": "collapse", "model": "toy", "positions": positions, "format": name,
        "family": family, "length": n, "prompt_tokens": n + 1, "longer_prompt_tokens": n + 2,
        "repeats_last": family != "ones_zero", "same_last": True,
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
                "width": WIDTH,
                "unit_roundoff": unit_roundoff,
                "dtype": "float64" if mode == "wide" else name,
                "rounding": mode,
                **(_answer(gap, token, mode) if (curve, norm) == ("signal", "l2") else {}),
                **(_detection(gap, noise) if (curve, mode, norm) == ("signal", own, "l2") else {}),
                **(_steps(gap, lost) if (curve, norm) == ("rounded", "ulp") else {}),
            }


def _answer(gap, token, mode):
    greedy = {"token": 5, "token_text": token, "margin": 0.25}
    if mode != "wide":
        return greedy
    used = None if gap is None else 4 * gap
    return greedy | {"margin_used": used, "certified": used is not None and used < 1}


def _detection(gap, noise):
    return {"detectable": None if gap is None or gap <= RESOLUTION else gap >= noise}


def _steps(gap, lost):
    return {"ulp_distance": None if gap is None else int(not lost)}
