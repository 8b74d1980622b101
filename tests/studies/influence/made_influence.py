"""Rows of an influence run that never was: every field of a real one, every number known."""

import math

from studies.collapse.made_rows import PROVENANCE

TOKENS = ("<bos>", "In", " the", "\n", "<b>")
LAYERS, WIDTH = 2, 16
PRINTED, REPAIRED = 1.0, 4.0  # decades
EQUAL = (1.0,) * len(TOKENS)
OLD = ("text", "offset", "along", "along_standard_error", "input_norm")  # earlier rows have none


def made_rows(
    kinds=("true", "frozen"),
    norms=EQUAL,
    tokens=TOKENS,
    method="exact",
    printed=PRINTED,
    repaired=REPAIRED,
    sizes=None,
    **changes,
):
    """The same norms at each layer but the last, where the last token alone has any influence.

    Vectors have length one, or ``sizes``; half of each derivative is along the vector.
    """
    return [
        _row(kind, layer, position, norms, tokens, method, (printed, repaired))
        | _vectors(kind, layer, position, norms, tokens, method, sizes)
        | changes
        for kind in kinds
        for layer in range(LAYERS + 1)
        for position in range(len(tokens))
    ]


def made_passages(*each):
    """Rows of several passages of one text, one for each set of changes."""
    return [row for at, changes in enumerate(each) for row in made_rows(offset=100 * at, **changes)]


def old_rows(**changes):
    """Rows as they were before there were several passages and conventions."""
    return [
        {name: value for name, value in row.items() if name not in OLD}
        for row in made_rows(**changes)
    ]


def _vectors(kind, layer, position, norms, tokens, method, sizes):
    size = 1.0 if sizes is None else sizes[position]
    along = _norm(layer, position, norms, tokens) * size / 2
    error = None if method == "exact" else along / 5
    vectors = {"along": along, "along_standard_error": error, "input_norm": size}
    return {"text": "kjv", "offset": 0, **vectors}


def _norm(layer, position, norms, tokens):
    return norms[position] if layer < LAYERS or position == len(tokens) - 1 else 0.0


def _row(kind, layer, position, norms, tokens, method, bounds):
    norm = _norm(layer, position, norms, tokens)
    exact = method == "exact" and layer == 0
    least = norm if exact else norm / math.sqrt(WIDTH)
    most = norm if method == "exact" else norm * (1 + 3 / 50)
    return PROVENANCE | {
        "study": "influence", "model": "toy", "positions": "none", "method": method,
        "probes": None if method == "exact" else 32, "dtype": "float64", "rounding": "none",
        "norm": "operator norm, L2 to L2; frobenius where named so", "width": WIDTH,
        "layers": LAYERS, "prompt_tokens": len(tokens), "attention": kind, "layer": layer,
        "position": position, "token": position, "token_text": tokens[position],
        "frobenius": norm, "standard_error": None if method == "exact" else norm / 50,
        "spectral": norm if exact else None, "at_least": least, "at_most": most,
        "last_finite": True, "pi": 1 / len(tokens),
        "share": 0.5 if layer < LAYERS else None,
        **_against("printed", (least, most), bounds[0]),
        **_against("repaired", (least, most), bounds[1]),
    }  # fmt: skip


def _against(name, ends, log_bound):
    least, most = ends
    over = math.log10(least) - log_bound if least else None  # -inf, as a file has it
    verdict = "exceeded" if least > 10.0**log_bound else "undecided"
    verdict = "within" if most <= 10.0**log_bound else verdict
    return {f"log10_{name}": log_bound, f"log10_over_{name}": over, name: verdict}


def without_numbers(row):
    """The row as it is where the derivative came out as NaN."""
    names = "frobenius", "at_least", "at_most", "log10_over_printed", "log10_over_repaired"
    return (
        row
        | dict.fromkeys((*names, "spectral"))
        | dict.fromkeys(("printed", "repaired"), "not_a_number")
    )
