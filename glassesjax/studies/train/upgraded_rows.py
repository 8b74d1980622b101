"""Conversion of a training's rows from schema 1."""

import re
from collections.abc import Mapping
from typing import Any

# Kinds of rows in schema 1, with today's name and those of fields that differ.
_KINDS: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "step": ("step", {}),
    "place": ("position", {"place": "position", "tokens_right": "token_accuracy"}),
    "answers": (
        "answers",
        {"exact": "exact_match", "tokens_right": "token_accuracy", "margin": "logit_margin"},
    ),
    "heard": ("influence", {"place": "position", "right": "accuracy"}),
    "heard_order": (
        "influence_order",
        {"places": "num_positions", "right": "accuracy"}
        | {
            f"{end}_{name}": f"{name}_{end}"
            for end in ("spearman", "low", "high")
            for name in ("influence", "rollout", "bound", "earliness")
        },
    ),
    "ratio": (
        "ratio",
        {
            "ratio_only": "ratio_only_accuracy",
            "likelier_than_ratio": "exceeds_ratio_only",
            "beyond_roundoff": "exceeds_beyond_roundoff",
        },
    ),
    "repeated": (
        "repetition",
        {
            "apart": "max_difference",
            "median_apart": "median_difference",
            "both_right": "both_correct",
        },
    ),
    "twins": (
        "pair",
        {
            "token": "target",
            "next_token": "next_target",
            "said": "answer",
            "next_said": "next_answer",
            "lead": "logit_margin",
            "next_lead": "next_logit_margin",
            "right": "correct",
            "confused": "collision",
            "stored": "certified_stored",
            "chance_apart": "probability_distinct",
            "chance_correlated": "probability_distinct_correlated",
            "chance_wrong": "probability_wrong",
        },
    ),
    "failing": ("failure", {}),
}
# Where schema 1 has null for what does not apply, where today null is a number that is not finite.
_ABSENT = {
    "tokens_per_second", "model_steps_per_second", "dispersion", "roundoff", "within_roundoff",
}  # fmt: skip
_DRAWN = {"answers": "in_distribution", "position": "in_distribution_position"}
_NORMS = {"influence": "frobenius", "influence_order": "frobenius"}
_WRONG = re.compile(r"in float64 ([0-9]+) of ([0-9]+) pairs of the training are wrong")


def converted(row: dict[str, Any]) -> dict[str, Any]:
    """A row of schema 1: what its kind and fields are called, and what does not apply left out."""
    old = str(row.get("kind"))
    kind, renamed = _KINDS.get(old, (old, {}))
    if kind in _DRAWN and row.get("length") == -1:  # lengths drawn as in the training
        kind, row = _DRAWN[kind], {k: v for k, v in row.items() if k != "in_training"}
    # -1 was the value for no length, or no token of the item.
    row = {k: v for k, v in row.items() if k not in ("length", "place") or v != -1}
    new = {renamed.get(name, name): value for name, value in row.items()} | {"kind": kind}
    if kind in _NORMS:
        new["norm"] = _NORMS[kind]
    # The obstacle was a sentence, with the counts in it.
    if isinstance(why := new.pop("why", None), str) and why:
        new["obstacle"] = "no_pairs"
        if wrong := _WRONG.fullmatch(why):
            counts = {"wrong_pairs": int(wrong[1]), "training_pairs": int(wrong[2])}
            new |= {"obstacle": "pairs_wrong", **counts}
    new.pop("applies", None) if kind == "failure" else None
    new.setdefault("weight_decay_on", "all")  # before the setting existed
    # A text as 2 x 1 x 1; what is no such text is refused when the row is read.
    if isinstance(mesh := new.get("mesh"), str):
        sides = mesh.split(" x ")
        new["mesh"] = list(map(int, sides)) if all(map(str.isdecimal, sides)) else mesh
    absent = {name for name in _ABSENT if new.get(name) is None}
    if kind == "influence_order":
        # Of a measure without an order all three fields were null.
        for name in ("influence", "rollout", "bound", "earliness"):
            fields = {f"{name}_{end}" for end in ("spearman", "low", "high")}
            absent |= fields if all(new.get(field) is None for field in fields) else set()
    return {name: value for name, value in new.items() if name not in absent}
