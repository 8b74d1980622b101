"""An influence run that never was: every field of a real row, every number known."""

import math

from studies.collapse.made_rows import PROVENANCE

from glassesjax.runs.record import from_row, names
from glassesjax.runs.run import Run
from glassesjax.studies.influence.records import ROWS, BoundFields, InfluenceConstants
from glassesjax.studies.influence.run import result

TOKENS = ("<bos>", "In", " the", "\n", "<b>")
LAYERS, WIDTH = 2, 16
PRINTED, REPAIRED = 1.0, 4.0  # decades
EQUAL = (1.0,) * len(TOKENS)
CONSTANTS = {
    "study": "influence", "model": "toy", "weights": "small.Q4_0.gguf", "weights_sha256": "00ff",
    "model_seed": 0, "seed": 0, "model_dim": WIDTH, "positions": "none", "method": "exact",
    "dtype": "float64", "rounding": "none", "norm": "operator_l2", "num_layers": LAYERS,
}  # fmt: skip
# Names of schema 1, and what the first rows of it lacked.
NAMES_BEFORE = {
    "model_dim": "width", "num_layers": "layers", "rollout": "pi", "attention_share": "share"
}  # fmt: skip
NEWER = ("text", "offset", "along", "along_standard_error", "input_norm", "finite")
NEWER += ("squared_share", "squared_share_along", "squared_share_scaled")


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
        | _vectors(layer, position, norms, tokens, method, sizes or (1.0,) * len(tokens))
        | changes
        for kind in kinds
        for layer in range(LAYERS + 1)
        for position in range(len(tokens))
    ]


def made_passages(*each):
    """Rows of several passages of one text, one for each set of changes."""
    return [row for at, changes in enumerate(each) for row in made_rows(offset=100 * at, **changes)]


def rows_of_schema_1(rows, **constants):
    """The same rows in the words of schema 1, null where a field does not apply."""
    named = {"not_finite": "not_a_number"}
    optional = ("standard_error", "along_standard_error", "spectral", "attention_share", "probes")
    norm = "operator norm, L2 to L2; frobenius where named so"
    return [
        {
            NAMES_BEFORE.get(name, name): named.get(value, value)
            for name, value in (
                PROVENANCE | CONSTANTS | {"norm": norm} | dict.fromkeys(optional) | constants | row
            ).items()
        }
        for row in rows
    ]


def old_rows(**changes):
    """Rows as they were before there were several passages and conventions, in today's words."""
    before = rows_of_schema_1(made_rows(**changes))
    before = [{name: row[name] for name in row if name not in NEWER} for row in before]
    return [ROWS.upgraded(row)[1] for row in before]


def run_of(rows, **constants):
    """The run that has these rows."""
    constants = CONSTANTS | constants
    return Run(
        settings={"study": "influence", "model": "toy", "prompt": "<script>alert(1)</script>"},
        rows=[ROWS.read(row) for row in rows],
        numbers=[0] * len(rows),
        records=[constants | PROVENANCE],
        constants=from_row(InfluenceConstants, constants),
        provenance={"command": "glassesjax influence toy"},
    )


def result_of(rows, **constants):
    """The same with its summary and figures."""
    return result(run_of(rows, **constants))


def made_result(method="exact", **changes):
    """A result of made rows."""
    probes = {} if method == "exact" else {"probes": 32}
    return result_of(made_rows(method=method, **changes), method=method, **probes)


def unbounded(row):
    """The row as a pass that a plan rounds has it."""
    bounds = names(BoundFields)
    return {name: value for name, value in row.items() if name not in bounds}


def _vectors(layer, position, norms, tokens, method, sizes):
    every = [_norm(layer, at, norms, tokens) for at in range(len(tokens))]
    along = [norm * size / 2 for norm, size in zip(every, sizes, strict=True)]
    scaled = [norm * size for norm, size in zip(every, sizes, strict=True)]
    error = {} if method == "exact" else {"along_standard_error": along[position] / 5}
    return {
        "along": along[position], **error, "input_norm": sizes[position],
        "squared_share": _share(every, position),
        "squared_share_along": _share(along, position),
        "squared_share_scaled": _share(scaled, position),
    }  # fmt: skip


def _share(sizes, position):
    total = sum(size**2 for size in sizes)
    return sizes[position] ** 2 / total if total else None


def _norm(layer, position, norms, tokens):
    return norms[position] if layer < LAYERS or position == len(tokens) - 1 else 0.0


def _row(kind, layer, position, norms, tokens, method, bounds):
    norm = _norm(layer, position, norms, tokens)
    exact = method == "exact" and layer == 0
    least = norm if exact else norm / math.sqrt(WIDTH)
    most = norm if method == "exact" else norm * (1 + 3 / 50)
    return {
        "prompt_tokens": len(tokens), "last_finite": True, "attention": kind, "text": "kjv",
        "offset": 0, "layer": layer, "position": position, "token": position,
        "token_text": tokens[position], "frobenius": norm,
        **({} if method == "exact" else {"standard_error": norm / 50}),
        **({"spectral": norm} if exact else {}), "at_least": least, "at_most": most,
        "rollout": 1 / len(tokens), **({"attention_share": 0.5} if layer < LAYERS else {}),
        **_against("printed", (least, most), bounds[0]),
        **_against("repaired", (least, most), bounds[1]), "finite": True,
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
        | dict.fromkeys((*names, *(["spectral"] if "spectral" in row else [])))
        | dict.fromkeys(("printed", "repaired"), "not_finite")
    )
