"""Grids of trainings: cells, several processes in one folder, rows and labelled grids."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import typing

import numpy as np
import pytest
from studies.made_diverged import joined
from studies.train.made_train import CONSTANTS, MADE, answer, step, timeless, training

import glassesjax
from glassesjax.cli import run
from glassesjax.errors import BadInput
from glassesjax.files import to_json, write_by_rename
from glassesjax.registry import load
from glassesjax.runs.folder import RunFolder
from glassesjax.runs.record import names, to_row
from glassesjax.studies.train import run as run_train
from glassesjax.studies.train.measure import CHECKPOINTS
from glassesjax.studies.train.records import ROWS
from glassesjax.studies.train.summary import summary_of
from glassesjax.surveys.sweep import run as run_sweep
from glassesjax.surveys.sweep.measure import CELLS, done_cells, fill_cells, missing
from glassesjax.surveys.sweep.records import LABELS
from glassesjax.surveys.sweep.records import ROWS as SWEEP_ROWS
from glassesjax.surveys.sweep.settings import GRIDS, SweepSettings
from glassesjax.train import train_steps
from glassesjax.train.checkpoint import latest

pytestmark = pytest.mark.usefixtures("undrawn", "near", "few_at_once")

SIZES = (
    "lengths=2:3", "layers=1", "heads=2", "width=8", "steps=4", "batch=4", "chunk=2", "examples=4",
    "formats=f32",
)  # fmt: skip
# Of the key, what is the same in all rows of a kind and cell: the last step, and one format.
FIXED = dict.fromkeys(LABELS, ("step",)) | {"step": ("format",)}
FIXED |= dict.fromkeys(("influence", "influence_order", "ratio", "repetition"), ("step", "format"))
GRID = ("task=copy_last", "positions=none,rotary", "remedy=none", *SIZES)
CELL_NAMES = {"copy_last,none", "copy_last,rotary"}


def flags(out, *grid):
    return ["sweep", "--grid", *(grid or GRID), "--out", str(out)]


def finish(cell, folder):
    """A training that takes no time: it leaves what a whole run leaves."""
    known = dataclasses.replace(
        CONSTANTS, task=cell.task, positions=cell.positions, model_dim=cell.width, mesh=cell.mesh
    )
    row = {"record": 0, **to_row(step(0, 4, 0.5))}
    with RunFolder(folder, {"study": "train", "task": cell.task}, ROWS):
        record = {"records": [{**to_row(known), **MADE}]}
        write_by_rename(folder / "provenance.json", to_json(record))
        write_by_rename(folder / "rows.jsonl", f"{to_json(row)}\n")
        write_by_rename(folder / "index.html", "page")


def test_a_grid_is_every_combination():
    settings = SweepSettings(grid=("task=copy_last,count_ones", "remedy=none", "layers=1,2,3"))
    cells = settings.cells
    assert len(cells) == 2 * 2 * 3  # the preset's two positions
    assert list(cells)[:2] == ["copy_last,none,1", "copy_last,none,2"]
    found = {(cell.task, cell.positions, cell.layers) for cell in cells.values()}
    assert len(found) == len(cells)
    one = SweepSettings(grid=(*GRID[:-1], "formats=f32:e4m3fn")).cells["copy_last,rotary"]
    assert (one.lengths, one.formats, one.width) == ((2, 3), ("f32", "e4m3fn"), 8)


@pytest.mark.parametrize("preset", GRIDS)
def test_a_preset_is_a_grid(preset):
    cells = SweepSettings(preset=preset).cells
    assert len({tuple(vars(cell).items()) for cell in cells.values()}) == len(cells)
    assert {cell.preset for cell in cells.values()} == {preset}


@pytest.mark.parametrize(
    ("grid", "text"),
    [
        (("task=",), "one or more"),
        (("layers=2,2",), "different values"),
        (("layers",), "NAME=VALUE"),
        (("depth=2",), "got 'depth=2'"),
        (("preset=full",), "NAME=VALUE"),
        (("layers=2", "layers=3"), "layers twice"),
        (("layers=two",), "a number for layers"),
        (("task=copy_lats",), "did you mean 'copy_last'"),
        (("width=10", "heads=4"), "--heads divides"),
        (("layers=1,01",), "different values"),
        (("rate=1e-3,0.001",), "different values"),
        (("layers=0,2",), "cells that differ"),
        (("remat=no",), "true or false for remat"),
        (("mesh=1",), "3 numbers"),
        (("lengths=2",), "2 numbers"),
        (("mesh=1:1:1,1:32:1",), "a mesh of at most"),
        (("mesh=1:1:1,3:1:1",), "a multiple of 3 seeds"),
        (("temperature=foo",), "constant or scalable or adaptive for temperature"),
        (("mix=foo",), "uniform or log for mix"),
        (
            ("mask=causal,none", "task=count_ones", "remedy=steps-3"),
            "a causal mask for a prompt format with steps",
        ),
        (("rate=inf",), "rate to be finite"),
        (("rate=nan",), "rate to be a number"),
        (("steps=-3",), "--steps of 1 or more, got -3"),
        (("layers=-1",), "--layers of 1 or more"),
        (("batch=-1",), "--batch of 1 or more"),
        (("rate=" + ",".join(map(str, range(1, 10_002))),), "1 to 10000 cells"),
    ],
)
def test_a_grid_that_is_none_is_one_line_and_nothing_is_written(grid, text, tmp_path, capsys):
    assert run(flags(tmp_path / "out", *grid)) == 2
    error = capsys.readouterr().err
    assert text in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("more", "text"),
    [
        (("--jobs", "-1"), "--jobs from 0"),
        (("--hours", "nan"), "hours to be a number"),
        (("--hours", "0"), "--hours over 0"),
        (("--cluster", "pbs"), "'slurm', 'local'"),
    ],
)
def test_jobs_that_are_none_are_one_line_and_nothing_is_written(more, text, tmp_path, capsys):
    assert run([*flags(tmp_path / "out"), *more]) == 2
    error = capsys.readouterr().err
    assert text in error
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_what_is_not_said_to_be_on_is_off():
    on, off = SweepSettings(grid=(*GRID, "remat=true,false")).cells.values(), "positions=none"
    assert [cell.remat for cell in on] == [True, False] * 2
    [cell] = SweepSettings(grid=(*GRID[:1], off, *GRID[2:], "remat=false")).cells.values()
    assert not cell.remat


def test_cells_are_made_once():
    settings = SweepSettings(grid=GRID)
    assert settings.cells is settings.cells
    assert settings == SweepSettings(grid=GRID)


def test_a_cell_that_another_process_trains_is_passed_over(tmp_path):
    settings = SweepSettings(grid=GRID)
    done = []
    same = {"study": "train", "task": "copy_last"}
    with RunFolder(tmp_path / CELLS / "copy_last,none", same, ROWS):
        assert fill_cells(settings, tmp_path, finish, done.append) == ["copy_last,none"]
    assert done == ["copy_last,rotary"]
    assert list(missing(settings, tmp_path)) == ["copy_last,none"]
    assert fill_cells(settings, tmp_path, finish, done.append) == []
    assert done == ["copy_last,rotary", "copy_last,none"]
    assert fill_cells(settings, tmp_path, finish, done.append) == []
    assert len(done) == 2


def test_a_cell_that_another_process_finishes_meanwhile_is_not_trained_again(tmp_path):
    settings, trained = SweepSettings(grid=GRID), []

    def train(cell, folder):
        trained.append(folder.name)
        for name, other in settings.cells.items():  # as a faster process would
            if not (tmp_path / CELLS / name / "index.html").exists():
                finish(other, tmp_path / CELLS / name)

    assert fill_cells(settings, tmp_path, train) == []
    assert len(trained) == 1


def test_a_sweep_notes_the_sum_of_its_cells_programs(tmp_path, undrawn):
    settings = SweepSettings(grid=("task=copy_last,count_ones,copy_zero", *GRID[1:]))
    names = list(settings.cells)

    def noted(**programs):
        for name in settings.cells:
            path = tmp_path / CELLS / name / "provenance.json"
            counts = {"compilation_cache": programs[name]} if name in programs else {}
            records = {"records": json.loads(path.read_text())["records"]}
            write_by_rename(path, json.dumps({**records, **counts}))
        load("sweep").run(settings, tmp_path)
        return json.loads((tmp_path / "provenance.json").read_text()).get("compilation_cache")

    with RunFolder(tmp_path, run_sweep._fixed(settings), SWEEP_ROWS):
        fill_cells(settings, tmp_path, finish)
    assert noted() is None
    one, other = {"hits": 0, "misses": 5}, {"hits": 0, "misses": 2}
    assert noted(**{names[0]: one, names[3]: other}) == {"hits": 0, "misses": 7}
    assert noted(**{names[0]: one, names[3]: {"hits": 3, "misses": 0}}) == {"hits": 3, "misses": 5}


def test_rows_come_in_the_order_of_the_grid(tmp_path):
    settings = SweepSettings(grid=GRID)
    fill_cells(settings, tmp_path, finish)
    records = [record for cell in done_cells(settings, tmp_path) for record in cell.records]
    assert [record["cell"] for record in records] == ["copy_last,none", "copy_last,rotary"]
    assert records[1]["positions"] == "rotary"
    assert records[1]["formats"] == "f32"


def test_a_record_keeps_its_number_when_another_cell_comes_before_it(tmp_path):
    """Whoever reads the rows while they are written anew finds each row's own cell."""
    settings, out = SweepSettings(grid=GRID), tmp_path / "toys"
    first, second = settings.cells
    finish(settings.cells[second], out / CELLS / second)
    cells = []
    for name in (second, first):
        finish(settings.cells[name], out / CELLS / name)
        whole = run_sweep._run(settings, out, "")
        write_by_rename(out / "provenance.json", to_json({"records": whole.records}))
        cells.append([whole.records[number]["cell"] for number in whole.numbers])
        assert [record["cell"] for record in whole.records] == [second, first][: len(cells)]
    assert cells == [[second], [first, second]]


def test_a_cell_whose_pass_is_not_finite_fails_the_sweep():
    rows = [answer(0, "f32", n, 0.5, finite=n is None) for n in (None, 2)]
    failures = load("sweep").violations(summary_of([training(rows)]))
    assert failures == ["the unrounded pass is not finite, in 1 of 2 rows"]


def made_cell(cell, folder):
    """A training with answers that say which cell, seed and length they are of."""
    finish(cell, folder)
    rows = [
        answer(seed, "f32", length, len(cell.positions) / 16 + seed / 4 + (length or 0) / 64)
        for seed in (0, 1)
        for length in (None, 2, 4)
        if (cell.positions, length) != ("rotary", 4)
    ]
    text = "".join(to_json({"record": 0, **to_row(row)}) + "\n" for row in rows)
    write_by_rename(folder / "rows.jsonl", text)


@pytest.fixture
def made_sweep(tmp_path, undrawn):
    settings = SweepSettings(grid=GRID)
    with RunFolder(tmp_path, run_sweep._fixed(settings), SWEEP_ROWS):
        fill_cells(settings, tmp_path, made_cell)
    load("sweep").run(settings, tmp_path)
    return tmp_path


def test_a_frame_of_a_sweep_is_a_grid_with_every_number_at_its_place(made_sweep):
    result = glassesjax.read(made_sweep)
    grid = result.frame().to_xarray()
    assert grid.exact_match.dims == ("positions", "seed", "format", "length")
    assert float(grid.exact_match.sel(positions="none", length=4, seed=1, format="f32")) == (
        4 / 16 + 1 / 4 + 4 / 64
    )
    assert np.isnan(grid.exact_match.sel(positions="rotary", length=4)).all()
    drawn = result.frame("in_distribution").to_xarray()
    assert drawn.exact_match.dims == ("positions", "seed", "format")
    assert float(drawn.exact_match.sel(positions="rotary", seed=0, format="f32")) == 6 / 16
    with pytest.raises(BadInput, match="Expected a kind of row out of in_distribution, answers"):
        result.frame("twins")


def test_settings_of_several_numbers_and_of_examples_are_labels(tmp_path, undrawn):
    """A row has ``mesh`` as a list, and ``examples`` of its own."""
    grid = ("task=copy_last", "positions=none", "remedy=none", *SIZES, "mesh=1:1:1,1:2:1")
    grid = tuple("examples=4,8" if each == "examples=4" else each for each in grid)
    settings = SweepSettings(grid=grid)
    with RunFolder(tmp_path, run_sweep._fixed(settings), SWEEP_ROWS):
        fill_cells(settings, tmp_path, made_cell)
    run_sweep._write(settings, tmp_path, "")
    table = glassesjax.read(tmp_path).frame()
    assert table.index.names == ["examples_per_length", "mesh", "seed", "format", "length"]
    assert {*table.index.get_level_values("examples_per_length")} == {4, 8}
    assert table.to_xarray().exact_match.shape == (2, 2, 2, 1, 2)


@pytest.mark.parametrize("axes", [None, 3, {"layers": 2}])
def test_damaged_settings_of_a_sweep_are_one_line(made_sweep, axes, capsys):
    path = made_sweep / "settings.json"
    settings = {**json.loads(path.read_text()), "axes": axes}
    path.write_text(json.dumps(settings))
    with pytest.raises(BadInput, match="Expected a list of values for each setting as axes in"):
        glassesjax.read(made_sweep)
    (made_sweep / "summary.json").unlink()
    assert run(["runs", str(made_sweep)]) == 0
    assert "Expected a list of values" in capsys.readouterr().out


def test_a_stray_record_is_left_out(made_sweep):
    path, before = made_sweep / "provenance.json", glassesjax.read(made_sweep).frame()
    record = json.loads(path.read_text())
    path.write_text(json.dumps({**record, "records": [{}, *record["records"]]}))
    run_sweep._write(SweepSettings(grid=GRID), made_sweep, "")
    assert glassesjax.read(made_sweep).frame().equals(before)


def test_every_kind_of_row_of_a_sweep_has_labels_that_it_has():
    for kind in SWEEP_ROWS.kinds:
        name = typing.get_args(typing.get_type_hints(kind)["kind"])[0]
        assert {*LABELS[name]} == {*names(kind)} & {*SWEEP_ROWS.key} - {"kind", *FIXED[name]}
    assert len(LABELS) == len(SWEEP_ROWS.kinds)


def test_jobs_that_leave_cells_missing_are_one_line_with_their_folder(
    tmp_path, capsys, monkeypatch
):
    out = tmp_path / "toys"
    monkeypatch.setattr(run_sweep, "run_jobs", lambda *told, **more: None)
    assert run([*flags(out), "--jobs", "1", "--cluster", "local"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert f"2 unfinished ones, such as copy_last,none: see {out}-jobs." in error
    assert "0 of 2 cells" in (out / "index.html").read_text()
    for name in CELL_NAMES:  # and nothing is wrong where jobs leave nothing to do
        finish(SweepSettings(grid=GRID).cells[name], out / CELLS / name)
    assert missing(SweepSettings(grid=GRID), out) == {}


def test_a_process_that_finds_nothing_to_do_ends_well(tmp_path, capsys, monkeypatch):
    # No cell is trained, and what other tests compiled stays.
    monkeypatch.setattr(run_sweep.jax, "clear_caches", lambda: None)
    monkeypatch.setattr(run_sweep.gc, "collect", lambda: 0)
    out = tmp_path / "toys"
    settings = SweepSettings(grid=GRID)
    with RunFolder(out, run_sweep._fixed(settings), SWEEP_ROWS):
        pass
    one, two = (RunFolder(out / CELLS / name, {}) for name in CELL_NAMES)
    with one, two:
        assert run(flags(out)) == 0
    said = capsys.readouterr()
    assert "other processes train the rest: 2 of 2 cells" in said.err
    assert "No cell is done yet" in said.out
    assert "0 of 2 cells" in (out / "index.html").read_text()
    assert (out / "rows.jsonl").read_text() == ""


PAIR = (*GRID[:-1], "formats=f32:e4m3fn")  # both formats in each cell


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A sweep whose first cell is trained; the second gets a copy, and compiles nothing again."""
    out, train, whole = tmp_path_factory.mktemp("sweep") / "toys", run_train.run, []

    def once(cell, options, call):
        assert cell == SweepSettings(grid=PAIR).cells[call.out.name]
        if not whole:
            train(cell, options, call)
        else:
            shutil.copytree(whole[0], call.out, dirs_exist_ok=True)
        whole.append(call.out)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_train, "run", once)
        assert run(flags(out, *PAIR)) == 0
    assert train_steps.__wrapped__._cache_size() == 0, "each cell forgets what it compiled"
    assert sorted(folder.name for folder in whole) == sorted(CELL_NAMES)
    return out


def test_a_sweep_leaves_a_run_for_each_cell_and_a_page_over_all(finished):
    names = {path.name for path in finished.iterdir()}
    assert {"settings.json", "provenance.json", "rows.jsonl", "figures", "index.html"} < names
    assert {path.name for path in (finished / CELLS).iterdir()} == CELL_NAMES
    page = (finished / "index.html").read_text()
    assert "2 of 2 cells" in page
    assert "&lt;" not in page.rpartition("<script>")[0]
    assert "http" not in page.replace("http://www.w3.org", "")
    rows = joined(finished)
    keys = [tuple(row.get(name) for name in ("cell", *ROWS.key)) for row in rows]
    assert len(set(keys)) == len(keys)
    answered = [row for row in rows if row["kind"] == "answers"]
    assert {(row["cell"], row["format"]) for row in answered} == {
        (cell, name) for cell in CELL_NAMES for name in ("f32", "e4m3fn")
    }


def test_a_second_call_changes_nothing(finished):
    before = (finished / "rows.jsonl").read_bytes()
    assert run(flags(finished, *PAIR)) == 0
    assert (finished / "rows.jsonl").read_bytes() == before


def test_another_grid_does_not_mix_in(finished, capsys):
    assert run(flags(finished, *PAIR, "seeds=2")) == 2
    assert "got another run" in capsys.readouterr().err


def saved(out):
    """Whether some cell has rows and a checkpoint beside them."""
    return any(latest(path.parent / CHECKPOINTS) for path in out.glob(f"{CELLS}/*/rows.jsonl"))


@pytest.mark.slow
def test_two_processes_one_of_them_killed_end_with_the_same_rows(tmp_path):
    out, straight = tmp_path / "toys", tmp_path / "straight"
    command = lambda folder: [sys.executable, "-m", "glassesjax", *flags(folder)]
    start = lambda: subprocess.Popen(
        command(out), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    one, two = start(), start()
    while not saved(out):
        assert one.poll() is None, one.communicate()
        time.sleep(0.02)
    assert one.poll() is None
    os.kill(one.pid, signal.SIGKILL)
    one.communicate()
    assert one.returncode == -signal.SIGKILL
    _, error = two.communicate()
    assert two.returncode == 0, error
    for folder in (out, straight):
        subprocess.run(command(folder), check=True, capture_output=True)
    found, wanted = (timeless(joined(path)) for path in (out, straight))
    unnumbered = lambda rows: [{**row, "record": 0} for row in rows]
    assert unnumbered(found) == unnumbered(wanted)
    assert {row["cell"] for row in found} == CELL_NAMES


@pytest.mark.slow
def test_more_jobs_than_cells_fill_a_sweep(tmp_path):
    out = tmp_path / "toys"
    assert run([*flags(out), "--jobs", "3", "--cluster", "local"]) == 0
    assert "2 of 2 cells" in (out / "index.html").read_text()
    assert {row["cell"] for row in joined(out)} == CELL_NAMES
