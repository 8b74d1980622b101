"""Training as a study: rows, files, and a run that goes on as if nothing had been."""

import dataclasses
import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from studies.made_diverged import joined
from studies.train.made_train import timeless

from glassesjax import open_model
from glassesjax.cli import run
from glassesjax.errors import BadInput
from glassesjax.model import Alibi, Bidirectional, Learned, Rotary, Window
from glassesjax.runs.record import to_row
from glassesjax.runs.rows import RowFile, read_rows
from glassesjax.studies.train import measure as train
from glassesjax.studies.train import settings as train_settings
from glassesjax.studies.train.measure import CHECKPOINTS, answers, measure
from glassesjax.studies.train.ratio_rows import ratio_seen
from glassesjax.studies.train.records import ROWS
from glassesjax.studies.train.settings import BEYOND, NOTHING, PRESETS, TrainSettings
from glassesjax.train import train_steps
from glassesjax.train.checkpoint import latest

pytestmark = pytest.mark.usefixtures("undrawn", "near", "few_at_once")

SIZES = {
    "lengths": (2, 3), "layers": 1, "heads": 2, "width": 8, "steps": 6, "batch": 4, "chunk": 2,
    "examples": 4, "seeds": 2, "formats": ("f32", "bf16@weights"),
}  # fmt: skip
SETTINGS = TrainSettings(task="copy_string", **SIZES)


def flags(out, **changed):
    told = {name: value for name, value in (SIZES | changed).items()}
    words = ["train", "copy_string"]
    for name, value in told.items():
        words += [f"--{name}", *(map(str, value) if isinstance(value, tuple) else [str(value)])]
    return [*words, "--out", str(out)]


def free_port():
    with socket.socket() as here:
        here.bind(("127.0.0.1", 0))
        return here.getsockname()[1]


def rows_read(path):
    return read_rows(path, lists=True)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "toy"
    before = train_steps.__wrapped__._cache_size()
    assert run(flags(out)) == 0
    assert train_steps.__wrapped__._cache_size() == before + 1, (
        "one compiled function for all calls"
    )
    return out


@pytest.fixture(scope="module")
def rows(finished):
    return rows_read(finished / "rows.jsonl")


def test_a_run_leaves_what_the_other_verbs_open(finished):
    names = {path.name for path in finished.iterdir()}
    wanted = {"settings.json", "provenance.json", "rows.jsonl", "figures", "index.html"}
    wanted |= {"summary.json"}
    models = {"model-0.safetensors", "model-1.safetensors"}
    assert names == {*wanted, *models, CHECKPOINTS}
    assert json.loads((finished / "settings.json").read_text())["steps"] == 6
    assert latest(finished / CHECKPOINTS).name == "00000006"
    page = (finished / "index.html").read_text()
    assert "http" not in page.replace("http://www.w3.org", "")
    assert "&lt;" not in page.rpartition("<script>")[0]
    zero, one = (open_model(str(finished), seed=seed).decoder for seed in (0, 1))
    assert zero.config == one.config == dataclasses.replace(SETTINGS).config
    assert not np.array_equal(zero.unembedding, one.unembedding)


def test_rows_are_told_apart_and_say_where_they_were_made(finished, rows):
    keys = [key_of(row) for row in rows]
    assert len(set(keys)) == len(keys)
    for row in joined(finished):
        assert {"norm", "dtype", "rounding", "matmul_precision", "backend", "jax"} <= {*row}
    steps = [row for row in rows if row["kind"] == "step"]
    assert [(row["step"], row["seed"]) for row in steps] == [
        (step, seed) for step in (2, 4, 6) for seed in (0, 1)
    ]
    answers = [row for row in rows if row["kind"] in ("answers", "in_distribution")]
    assert len(answers) == 2 * 2 * len(SETTINGS.asked)
    assert {row["rounding"] for row in answers} == {"none", "simulated bf16 weights"}


def test_places_average_to_all_answers_that_copy(rows):
    one = {"seed": 0, "format": "f32", "length": SETTINGS.tested[-1]}
    mine = [row for row in rows if one.items() <= row.items()]
    places = [row for row in mine if row["kind"] == "position"]
    assert [row["position"] for row in places] == list(range(one["length"]))
    assert {row["examples"] for row in places} == {SETTINGS.examples}


def test_a_second_call_changes_no_row(finished):
    before = (finished / "rows.jsonl").read_bytes()
    assert run(flags(finished)) == 0
    assert (finished / "rows.jsonl").read_bytes() == before


@pytest.mark.parametrize("calls", [1, 2])
def test_a_stopped_run_ends_in_the_same_bits(finished, rows, tmp_path, calls, monkeypatch):
    out = tmp_path / "stopped"
    saved, real = [], train.save

    def save(folder, states, *rows):
        if len(saved) == calls:
            raise KeyboardInterrupt  # the rows of this call are written, its checkpoint is not
        saved.append(real(folder, states, *rows))

    monkeypatch.setattr(train, "save", save)
    assert run(flags(out)) == 130
    monkeypatch.undo()
    assert latest(out / CHECKPOINTS).name == f"{2 * calls:08d}"
    assert run(flags(out)) == 0
    assert timeless(rows_read(out / "rows.jsonl")) == timeless(rows)
    for seed in (0, 1):
        name = f"model-{seed}.safetensors"
        assert (out / name).read_bytes() == (finished / name).read_bytes()


def key_of(row):
    return tuple(row.get(name) for name in ROWS.key)


def left_of(ask, settings, decoders, there):
    """What a question adds to the rows that are there."""
    seen = {key_of(row) for row in there}
    done = lambda row: key_of(row) in seen
    asked = [to_row(row) for _, rows in ask(settings, decoders, done) for row in rows]
    return [row for row in asked if not done(row)]


def test_answers_cut_after_any_row_are_completed(finished):
    decoders = [open_model(str(finished), seed=seed).decoder for seed in (0, 1)]
    whole = left_of(answers, SETTINGS, decoders, [])
    behind = [at + 1 for at, row in enumerate(whole) if row["kind"] == "answers" and row["seed"]]
    for cut in {0, 1, *behind, *(at + 1 for at in behind), len(whole) - 1}:
        assert whole[:cut] + left_of(answers, SETTINGS, decoders, whole[:cut]) == whole


def test_plans_have_their_own_names():
    named = {"formats": ("bfloat16", "half@attn_exp,fp32@weights"), "arithmetic": "bfloat16"}
    settings = dataclasses.replace(SETTINGS, **named)
    assert settings.formats == ("bf16", "f16@attn_exp,f32@weights")
    assert settings.arithmetic == "bf16"
    with pytest.raises(BadInput, match="different --formats, got 'bf16' twice"):
        dataclasses.replace(SETTINGS, formats=("bfloat16", "bf16"))


def test_ratios_cut_after_any_row_are_completed():
    settings = TrainSettings(task="count_mixed", **SIZES | {"lengths": (2, 5)})
    states = train.resumed(settings, Path("nowhere"))
    decoders = [jax.tree.map(lambda x, at=at: x[at], states.decoder) for at in (0, 1)]
    decoders = [jax.tree.map(jnp.asarray, decoder) for decoder in decoders]
    whole = left_of(ratio_seen, settings, decoders, [])
    assert [row["kind"] for row in whole] == ["ratio", "repetition"] * 2
    for cut in range(len(whole) + 1):
        assert whole[:cut] + left_of(ratio_seen, settings, decoders, whole[:cut]) == whole


def test_no_ratio_is_asked_where_no_item_has_a_repetition():
    told = SIZES | {"lengths": (2, 3), "mask": "none"}
    settings = TrainSettings(task="count_mixed", **told)
    assert left_of(ratio_seen, settings, [], []) == []
    repeated = TrainSettings(task="count_mixed", **told | {"lengths": (2, 4)})
    assert repeated.calls == settings.calls + 1


def test_a_cut_file_of_rows_is_completed(finished, rows, tmp_path):
    lines = (finished / "rows.jsonl").read_bytes().splitlines(keepends=True)
    trained = sum(row["kind"] == "step" for row in rows)
    behind = next(at for at, row in enumerate(rows) if row["kind"] == "answers" and row["seed"])
    pairs = next(at for at, row in enumerate(rows) if row["kind"] in ("pair", "failure"))
    for cut in (trained, behind + 1, pairs, len(rows) - 1):
        out = tmp_path / str(cut)
        shutil.copytree(finished, out)
        (out / "rows.jsonl").write_bytes(b"".join(lines[:cut]) + lines[cut][:-5])
        assert run(flags(out)) == 0
        assert rows_read(out / "rows.jsonl") == rows


def damaged(finished, folder, change):
    """A copy of the run whose rows were changed between two calls of the command."""
    out = folder / "damaged"
    shutil.copytree(finished, out)
    path = out / "rows.jsonl"
    path.write_bytes(b"".join(change(path.read_bytes().splitlines(keepends=True))))
    return out


@pytest.mark.parametrize(
    "change",
    [
        lambda lines: [*lines[:5], *lines[6:]],  # of the last call of the training
        lambda lines: [*lines[:4], lines[4].replace(b'"loss": ', b'"loss": 1'), *lines[5:]],
        lambda lines: lines[:5],
        lambda lines: [*lines[:-3], *lines[-2:]],
        lambda lines: [*lines[:8], lines[8].replace(b'"position": ', b'"position": 1'), *lines[9:]],
    ],
    ids=["removed", "changed", "cut", "answer removed", "answer changed"],
)
def test_rows_lost_behind_the_newest_checkpoint_are_made_again(finished, rows, tmp_path, change):
    out = damaged(finished, tmp_path, change)
    assert rows_read(out / "rows.jsonl") != rows
    assert run(flags(out)) == 0
    assert timeless(rows_read(out / "rows.jsonl")) == timeless(rows)
    name = "model-1.safetensors"
    assert (out / name).read_bytes() == (finished / name).read_bytes()


@pytest.mark.parametrize(
    "change",
    [
        lambda lines: [],
        lambda lines: lines[1:],
        lambda lines: [lines[1], lines[0], *lines[2:]],
        lambda lines: [lines[0].replace(b'"loss": ', b'"loss": 1'), *lines[1:]],
    ],
    ids=["emptied", "removed", "order", "changed"],
)
def test_rows_lost_behind_every_checkpoint_are_one_line(finished, tmp_path, change, capsys):
    out = damaged(finished, tmp_path, change)
    before = (out / "rows.jsonl").read_bytes()
    capsys.readouterr()
    assert run(flags(out)) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "Expected the rows that the checkpoints in" in error
    assert (out / "rows.jsonl").read_bytes() == before


def test_without_checkpoints_the_training_is_made_again(finished, rows, tmp_path):
    out = damaged(finished, tmp_path, lambda lines: lines[1:])
    shutil.rmtree(out / CHECKPOINTS)
    (out / ".rows.jsonl.4711.part").write_text("scrap")
    assert run(flags(out)) == 0
    assert timeless(rows_read(out / "rows.jsonl")) == timeless(rows)
    assert {path.name for path in out.iterdir()} == {path.name for path in finished.iterdir()}


def test_rates_are_told_where_nothing_was_compiled(rows, tmp_path, monkeypatch):
    rates = {row["step"]: row.get("tokens_per_second") for row in rows if row["kind"] == "step"}
    assert rates[2] is None
    assert min(rates[4], rates[6]) > 0
    uneven = TrainSettings(task="copy_string", **SIZES | {"steps": 5})
    states = train.resumed(uneven, tmp_path)
    told = jax.eval_shape(lambda states: train_steps(states, uneven.training, 2), states)[1]
    told = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), told)
    monkeypatch.setattr(train, "train_steps", lambda states, training, count, mesh: (states, told))
    monkeypatch.setattr(train, "save", lambda *told: None)
    calls = list(itertools.islice(measure(uneven, tmp_path), 3))
    assert [rows[0].tokens_per_second is None for _, rows in calls] == [True, False, True]
    assert ["tokens/s" in name for name, _ in calls] == [False, True, False]


def test_a_cut_checkpoint_is_one_line_and_nothing_is_touched(finished, tmp_path, capsys):
    out = tmp_path / "cut"
    steps = measure(TrainSettings(task="copy_string", **SIZES), out / "none")
    with pytest.raises(BadInput, match=r"to write a checkpoint, got .*No such file"):
        list(steps)  # a study does not make its folder: the run does
    assert run(flags(out)) == 0
    path = latest(out / CHECKPOINTS) / "files.json"
    path.write_text("{}")
    before = {file: file.stat().st_mtime_ns for file in (out / CHECKPOINTS).rglob("*")}
    capsys.readouterr()
    assert run(flags(out)) == 2
    error = capsys.readouterr().err
    assert "whole checkpoint" in error
    assert error.count("\n") == 1
    assert {f: f.stat().st_mtime_ns for f in (out / CHECKPOINTS).rglob("*")} == before


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"task": "copy_lats"}, "did you mean 'copy_last'"),
        ({"remedy": "separator-3"}, "did you mean 'separators'"),
        ({"lengths": (1, 8)}, "--lengths of 2 or more, got 1"),
        ({"lengths": (8, 4)}, "shortest first"),
        ({"width": 10, "heads": 4}, "--heads divides, got 10 and 4"),
        ({"width": 12, "heads": 4, "positions": "rotary"}, "even number of rotated"),
        ({"positions": "spiral"}, "--positions out of none"),
        ({"mask": "window-0"}, "--mask out of causal"),
        ({"formats": ()}, "different --formats"),
        ({"formats": ("f32", "f31")}, "f31"),
        ({"formats": ("bf16@head",)}, "sites out of weights"),
        ({"arithmetic": "native-e4m3fn"}, "native-e4m3fn"),
        ({"batch": 6, "parts": 4}, "a multiple of its parts, got 6 in 4 parts"),
        ({"seeds": 0}, "--seeds of 1"),
        ({"rate": 0.0}, "--rate over 0"),
        ({"chunk": 0}, "--chunk of 1"),
        ({"mesh": (0, 1, 1)}, "--mesh of three"),
        ({"task": "copy_last", "remedy": "steps-3"}, "counting task"),
    ],
)
def test_settings_that_do_not_fit_are_one_line(changed, text):
    with pytest.raises(BadInput, match=text) as caught:
        TrainSettings(**{"task": "copy_string", **SIZES, **changed})
    assert "\n" not in str(caught.value)


def test_a_preset_gives_what_no_flag_gives():
    settings = TrainSettings(task="count_ones", width=64, preset="quick")
    wanted = PRESETS["quick"] | {"width": 64}
    assert {name: getattr(settings, name) for name in wanted} == wanted
    assert TrainSettings(task="count_ones", preset="full").steps == PRESETS["full"]["steps"]


def test_settings_become_a_decoder():
    config = lambda **changed: dataclasses.replace(SETTINGS, **changed).config
    assert config(positions="alibi").positions == Alibi()
    assert config(positions="p-rope", width=16).positions == Rotary(
        fraction=0.75, partial="spectrum"
    )
    assert config(positions="learned").positions == Learned(max_length=SETTINGS.room)
    assert config(mask="window-5").mask == Window(width=5)
    assert config(mask="none").mask == Bidirectional()
    assert config().vocab_size == len(SETTINGS.training.task.symbols)


def test_lengths_go_far_beyond_the_training(monkeypatch):
    monkeypatch.setattr(train_settings, "BEYOND", BEYOND)  # as it is
    settings = TrainSettings(task="copy_string", **SIZES | {"lengths": (3, 20)})
    assert settings.tested == (3, 6, 12, 20, 24, 48, 96, 192, BEYOND * 20)
    assert settings.asked == (NOTHING, *settings.tested)


def wait_for(there, process):
    """Polls until something is there, which a process that lives must bring about."""
    while not there():
        assert process.poll() is None, "It ended before that."
        time.sleep(0.01)
    assert process.poll() is None, "It ended with that."


def checkpoint_of(out, step):
    return (path := latest(out / CHECKPOINTS)) is not None and int(path.name) >= step


def answer_in(out):
    return b'"kind": "answers"' in (out / "rows.jsonl").read_bytes()


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """A run of a process of its own: here float64 is on."""
    out = tmp_path_factory.mktemp("straight") / "toy"
    subprocess.run(command_of(out), check=True, capture_output=True)
    return out


def command_of(out):
    return [sys.executable, "-m", "glassesjax", *flags(out)]


@pytest.mark.slow
@pytest.mark.parametrize(
    "there",
    [lambda out: checkpoint_of(out, 2), lambda out: checkpoint_of(out, 4), answer_in],
    ids=["first", "second", "answers"],
)
def test_a_run_killed_at_any_moment_ends_in_the_same_bits(straight, tmp_path, there):
    out = tmp_path / "killed"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command_of(out), **quiet)
    wait_for(lambda: there(out) if (out / "rows.jsonl").exists() else False, process)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (out / "index.html").exists()
    subprocess.run(command_of(out), check=True, capture_output=True)
    for name in ("model-0.safetensors", "model-1.safetensors"):
        assert (out / name).read_bytes() == (straight / name).read_bytes()
    found, wanted = (timeless(rows_read(path / "rows.jsonl")) for path in (out, straight))
    assert found == wanted


TWO = ("--mesh", "2", "1", "1")  # a seed on each of two devices


def together(out, port, *more, count=2):
    """The same command in several processes on the loopback; or each with words of its own."""
    own = more if more and isinstance(more[0], tuple) else [more] * count
    command = [sys.executable, "-m", "glassesjax", *flags(out), "--distributed"]
    said = {"JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{port}", "JAX_NUM_PROCESSES": str(count)}
    start = lambda index: subprocess.Popen(
        [*command, *own[index]],
        env={**os.environ, **said, "JAX_PROCESS_ID": str(index), "JAX_NUM_CPU_DEVICES": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    return [start(index) for index in range(count)]


def ends(processes, timeout=600):
    """Statuses, and what each said; Gloo's own lines apart."""
    try:
        said = [process.communicate(timeout=timeout) for process in processes]
    finally:
        for process in processes:
            process.kill()  # where one hangs
    own = lambda text: "".join(
        line for line in text.splitlines(keepends=True) if "[Gloo]" not in line
    )
    return [process.returncode for process in processes], [tuple(map(own, two)) for two in said]


def step_losses(out):
    rows = rows_read(out / "rows.jsonl")
    return {key_of(row): row["loss"] for row in rows if row["kind"] == "step"}


@pytest.mark.slow
def test_two_processes_train_as_one_does(straight, tmp_path):
    out = tmp_path / "together"
    status, said = ends(together(out, free_port(), *TWO))
    assert status == [0, 0], said
    assert "Page:" in said[0][0]
    assert said[1][0] == ""
    found, wanted = step_losses(out), step_losses(straight)
    assert list(found) == list(wanted)
    # One model is trained whole on one device either way, but two at once or one: products of
    # other shapes, whose sums may be rounded in another order. Six steps; a few additions of width.
    np.testing.assert_allclose(list(found.values()), list(wanted.values()), rtol=6 * 64 * 2.0**-24)
    assert open_model(str(out), seed=1).decoder.config == SETTINGS.config


LONG = (*TWO, "--steps", "40")


@pytest.fixture(scope="module")
def long_run(tmp_path_factory):
    """Of two processes, with steps enough to end them between two checkpoints."""
    out = tmp_path_factory.mktemp("long") / "toy"
    status, said = ends(together(out, free_port(), *LONG))
    assert status == [0, 0], said
    return out


@pytest.mark.slow
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
def test_a_process_that_ends_takes_the_other_along_and_both_go_on(long_run, tmp_path, end):
    out = tmp_path / "out"
    one, two = together(out, free_port(), *LONG)
    wait_for(lambda: checkpoint_of(out, 4), one)
    two.send_signal(end)
    status, said = ends((one, two))
    assert status == [1, 130 if end == signal.SIGINT else -signal.SIGKILL]
    assert_lost(said[0][1])
    assert not checkpoint_of(out, 40)
    status, said = ends(together(out, free_port(), *LONG))
    assert status == [0, 0], said
    assert step_losses(out) == step_losses(long_run)
    for name in ("model-0.safetensors", "model-1.safetensors"):
        assert (out / name).read_bytes() == (long_run / name).read_bytes()


def assert_lost(error):
    """One line that says it, beside those of the steps."""
    [line] = [line for line in error.splitlines() if not line.startswith("step ")]
    assert line == (
        "glassesjax: Another process of this training ended. The same command continues."
    )


@pytest.mark.slow
def test_the_writer_that_is_killed_ends_the_other_in_one_line(tmp_path):
    """The writer also runs JAX's service, without which JAX itself aborts the others."""
    out = tmp_path / "out"
    one, two = together(out, free_port(), *LONG)
    wait_for(lambda: checkpoint_of(out, 4), one)
    one.send_signal(signal.SIGKILL)
    status, said = ends((one, two), timeout=60)
    assert status == [-signal.SIGKILL, 1]
    assert_lost(said[1][1])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("first", "second", "named"),
    [
        (TWO, (*TWO, "--rate", "0.1"), "rate 0.003 in process 0 and 0.1 in process 1"),
        (TWO, ("--mesh", "1", "2", "1"), "mesh [2, 1, 1] in process 0 and [1, 2, 1] in process 1"),
        (TWO, (*TWO, "--width", "16"), "width 8 in process 0 and 16 in process 1"),
    ],
    ids=["rate", "mesh", "width"],
)
def test_processes_of_different_settings_are_refused(tmp_path, first, second, named):
    """With another mesh or width they would wait for each other in different programs."""
    out = tmp_path / "out"
    processes = together(out, free_port(), first, second)
    status, said = ends(processes, timeout=120)
    assert status == [2, 2], said
    for _, error in said:
        assert named in error
        assert error.count("\n") == 1
    assert not out.exists()


@pytest.mark.slow
def test_bad_input_of_several_processes_is_one_line(tmp_path):
    more = ("--mesh", "3", "1", "1", "--seeds", "3")  # of which there are two devices
    status, said = ends(together(tmp_path / "out", free_port(), *more))
    assert status == [2, 2], said
    for _, error in said:
        assert "Expected a mesh of at most" in error
        assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_mesh_larger_than_the_devices_is_one_line_and_nothing_is_written(tmp_path, capsys):
    assert run([*flags(tmp_path / "out", batch=64), "--mesh", "1", "64", "1"]) == 2
    error = capsys.readouterr().err
    assert "Expected a mesh of at most" in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_steps_are_told_to_tensorboard(tmp_path):
    out = tmp_path / "told"
    assert run([*flags(out, formats="f32"), "--tensorboard"]) == 0
    [events] = (out / "tensorboard").iterdir()
    assert b"loss/seed_0" in events.read_bytes()
    assert b"accuracy/seed_1" in events.read_bytes()


def test_a_missing_tensorboard_is_said_before_anything_is_written(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    assert run([*flags(tmp_path / "out"), "--tensorboard"]) == 2
    assert "Expected the tensorboardX package" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_steps_whose_rows_were_lost_are_told_to_tensorboard_once(tmp_path, monkeypatch):
    out, calls, real = tmp_path / "told", [], RowFile.append

    def append(file, rows):
        calls.append(rows)
        if len(calls) == 2:
            raise KeyboardInterrupt
        real(file, rows)

    monkeypatch.setattr(RowFile, "append", append)
    words = [*flags(out, formats="f32"), "--tensorboard"]
    assert run(words) == 130
    assert run(words) == 0
    events = [path.read_bytes() for path in (out / "tensorboard").iterdir()]
    assert sum(event.count(b"loss/seed_0") for event in events) == 3
