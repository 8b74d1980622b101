"""The flag ``--devices``: rows on four devices are those of one, in a process of its own."""

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from made_devices import CASES
from made_settings import MADE
from made_settings import made as made_settings
from test_sharded import LIMIT, THREADS

import glassesjax
from glassesjax.cli import run
from glassesjax.errors import BadInput
from glassesjax.memory import cores
from glassesjax.model import opening
from glassesjax.model.opening import ModelSettings, open_one
from glassesjax.model.sharding import check_threads
from glassesjax.runs.rows import read_rows
from glassesjax.studies.collapse.settings import CollapseSettings

TESTS = Path(__file__).parent
STUDIES = [kind for kind in MADE if "model" in MADE[kind]]
# Times; and what is made of roundings: differences of vectors that are equal but for these, their
# errors, and what counts or bounds them.
ROUNDINGS = {
    "tokens_per_second", "resolution", "equal_coordinates", "layers_distance", "layers_bound",
    "margin_used",
}  # fmt: skip
# By name of a model the weights of which four devices hold a quarter each.
DIVIDED = {
    "toy": {"embed.table", "blocks.mlp.up", "blocks.mlp.down"},
    "GGUF": {"blocks.attention.query", "blocks.attention.output", "blocks.mlp.gate",
             "blocks.mlp.up", "blocks.mlp.down"},
}  # fmt: skip
DIVIDED |= {"TRAINED": DIVIDED["toy"], "FOLDER": {*DIVIDED["GGUF"], "embed.table", "unembed"}}


@pytest.mark.parametrize("kind", STUDIES, ids=lambda kind: kind.__name__)
def test_the_setting_of_every_study_is_one_device_or_more(kind):
    settings = made_settings(kind, **MADE[kind])
    assert settings.devices == 1
    assert isinstance(settings, ModelSettings)
    with pytest.raises(BadInput, match="Expected --devices at least 1, got 0"):
        made_settings(kind, **MADE[kind], devices=0)


@pytest.mark.parametrize("devices", [0, 9999])
def test_devices_that_are_not_there_are_refused_in_a_line(devices, tmp_path, capsys):
    words = ["collapse", "toy", "--devices", str(devices), "--out", str(tmp_path / "run")]
    assert run(words) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert f"got {devices}" in line
    assert not list(tmp_path.iterdir())


def test_one_device_has_no_mesh(monkeypatch):
    meshes, header = [], opening.open_header
    keep = lambda name, **options: meshes.append(options["mesh"]) or header(name, **options)
    monkeypatch.setattr(opening, "device_mesh", mesh_of)
    monkeypatch.setattr(opening, "check_threads", lambda mesh: None)
    monkeypatch.setattr(opening, "open_header", keep)
    for devices in (1, 4):
        open_one(CollapseSettings(model="toy", devices=devices), "none")
    assert meshes == [None, mesh_of(4)]


def mesh_of(count):
    """A mesh of so many places, all of them the first device."""
    return jax.sharding.Mesh(np.asarray(jax.devices()[:1] * count), ("model",))


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="other devices have no such pool")
def test_devices_of_a_cpu_need_threads(monkeypatch):
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")
    monkeypatch.setenv("NPROC", "5")
    check_threads(mesh_of(4))
    for name, value in (("NPROC", "4"), ("OPENBLAS_NUM_THREADS", "2")):
        with monkeypatch.context() as patch:
            patch.setenv(name, value)
            check_threads(mesh_of(1))
            with pytest.raises(BadInput, match="set NPROC=8 OPENBLAS_NUM_THREADS=1"):
                check_threads(mesh_of(4))
    monkeypatch.delenv("NPROC")
    with pytest.raises(BadInput, match=f"got {cores()} and 1"):
        check_threads(mesh_of(cores()))


def test_devices_of_a_cpu_have_one_memory(monkeypatch):
    given = []
    monkeypatch.setattr(opening, "device_mesh", mesh_of)
    monkeypatch.setattr(opening, "check_threads", lambda mesh: None)
    monkeypatch.setattr(opening, "check_memory", lambda *_, parts: given.append(parts))
    for devices in (1, 4):
        open_one(CollapseSettings(model="toy", devices=devices), "none")
    assert given == [1, 1 if jax.default_backend() == "cpu" else 4]


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    """What the process leaves."""
    out = tmp_path_factory.mktemp("devices")
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=4"
    paths = os.pathsep.join((str(TESTS), str(TESTS.parent)))
    environment = {**os.environ, **THREADS, "XLA_FLAGS": flags, "PYTHONPATH": paths}
    ended = subprocess.run(
        [sys.executable, TESTS / "made_devices.py", out],
        env=environment, capture_output=True, text=True, timeout=900,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    return out


def columns(path):
    """The values of each field of all rows of a run."""
    rows = read_rows(path / "rows.jsonl", lists=True)
    names = dict.fromkeys(itertools.chain.from_iterable(rows))
    flat = lambda value: value if isinstance(value, list) else [value]
    return {
        name: [one for row in rows for one in flat(row.get(name))]
        for name in names if name not in ROUNDINGS
    }  # fmt: skip


def excess(one, four):
    """The largest difference of numbers over the limit; other values must be equal."""
    assert one.keys() == four.keys()
    most = 0.0
    for name, values in one.items():
        kinds = [type(value) for value in values]
        assert kinds == [type(value) for value in four[name]], name
        if float not in kinds:
            assert values == four[name], name
            continue
        pairs = [pair for pair in zip(values, four[name], strict=True) if type(pair[0]) is float]
        wanted, found = np.asarray(pairs).T
        size, apart = np.abs(wanted).max(), np.abs(found - wanted).max()
        most = max(most, float(apart / size) / LIMIT if size else float(apart))
    return most


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_rows_on_four_devices_are_those_of_one(out, name):
    assert json.loads((out / "ended.json").read_text())["ended"][f"{name}-4"][0] == 0
    assert excess(columns(out / f"{name}-1"), columns(out / f"{name}-4")) <= 1
    for devices in (1, 4):
        folder = out / f"{name}-{devices}"
        assert glassesjax.read(folder).run.constants.devices == devices
        assert json.loads((folder / "settings.json").read_text())["devices"] == devices


@pytest.mark.slow
def test_rows_that_are_others_are_noticed(out):
    one, four = (columns(out / f"influence-{devices}") for devices in (1, 4))
    spoiled = {**four, "frobenius": [value * (1 + 2**-8) for value in four["frobenius"]]}
    assert excess(one, spoiled) > 1
    assert one["frobenius"] != four["frobenius"]  # sums were divided


@pytest.mark.slow
def test_weights_are_divided(out):
    held = json.loads((out / "ended.json").read_text())["held"]
    for model, names in DIVIDED.items():
        assert {name for name, share in held[model].items() if share == 1 / 4} == names
    assert {*held["one"].values()} == {1}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("five", "Expected at most the 4 devices here"),
        ("another", "devices in settings.json differs"),
        ("threads", "set NPROC=8 OPENBLAS_NUM_THREADS=1"),
    ],
)
def test_refusals_on_four_devices_are_a_line(out, name, text):
    status, lines = json.loads((out / "ended.json").read_text())["ended"][name]
    assert (status, len(lines)) == (2, 1)
    assert text in lines[0]
    assert not (out / name).exists()
