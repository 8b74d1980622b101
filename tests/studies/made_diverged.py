"""A run folder whose decoder of one seed has diverged, and what a study's command says of it.

Each study tries it in its own file, with the model and the sizes of its other tests: what they
compiled serves again, for other numbers are the same programs.
"""

import dataclasses
import hashlib
import json
import re

import numpy as np
import pytest

from glassesjax import open_model
from glassesjax.cli import run
from glassesjax.model.stored import save_decoder
from glassesjax.model.weights import build_decoder, flat_parameters
from glassesjax.runs.rows import read_rows
from glassesjax.tasks.sequences import SYMBOLS

SEED = 1  # of the decoder that has diverged; that of seed 0 is sound
# Both make a representation that is not finite, by the same lines.
faults = pytest.mark.parametrize(
    "fault", [np.nan, pytest.param(np.inf, marks=pytest.mark.slow)], ids=str
)
UNROUNDED = "FAILED the unrounded pass is not finite, in "


def saved_pair(folder, positions="none", fault=np.nan):
    """Saves the toy's decoder, and the same with something added to a weight; its digest."""
    folder.mkdir()
    decoder = open_model("toy", positions=positions).decoder
    arrays = {name: np.asarray(array) for name, array in flat_parameters(decoder).items()}
    save_decoder(folder / "model-0.safetensors", decoder, SYMBOLS, {"weights": "made"})
    arrays["blocks.mlp.down"] = arrays["blocks.mlp.down"] + np.float32(fault)
    diverged = build_decoder(decoder.config, arrays)
    path = folder / f"model-{SEED}.safetensors"
    save_decoder(path, diverged, SYMBOLS, {"weights": "made"})
    return hashlib.sha256(path.read_bytes()).hexdigest()


def joined(out):
    """The rows of a run, each with the fields of its record, where it has one."""
    records = json.loads((out / "provenance.json").read_text()).get("records")
    rows = read_rows(out / "rows.jsonl", lists=True)
    return [{**records[row["record"]], **row} for row in rows] if records else rows


def words_of(settings):
    """The flags that give these settings, but for the model's name and what only the toy takes."""
    words = []
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if field.name not in ("model", "positions", "seed") and value != field.default:
            values = value if isinstance(value, tuple) else (value,)
            words += [f"--{field.name.replace('_', '-')}", *map(str, values)]
    return words


def check_diverged(verb, words, folder, capsys, fault, positions="none"):
    """Status, lines and rows of a verb whose seed picks the decoder that has diverged."""
    digest, out = saved_pair(folder / "models", positions, fault), folder / "run"
    capsys.readouterr()
    call = [verb, str(folder / "models"), *words, "--seed", str(SEED), "--out", str(out)]
    assert run(call) == 1
    said = capsys.readouterr().out
    assert UNROUNDED in said
    assert re.search(r"ot finite,? in \d", said.replace(UNROUNDED, ""))
    said = said.replace("neither equal nor different", "").replace(str(folder), "")
    assert [word for word in ("equal", "best", "lowest", "nan") if word in said] == []
    rows = joined(out)
    assert not all(row["finite"] for row in rows if row.get("finite") is not None)
    assert {row["weights_sha256"] for row in rows} == {digest}
    assert {(row["model_seed"], row["seed"]) for row in rows} == {(SEED, SEED)}


def check_sound(verb, words, folder):
    """After ``check_diverged``: the other decoder of the same folder ends the command well."""
    out = folder / "sound"
    assert run([verb, str(folder / "models"), *words, "--seed", "0", "--out", str(out)]) == 0
    assert {(row["model_seed"], row["seed"]) for row in joined(out)} == {(0, 0)}
