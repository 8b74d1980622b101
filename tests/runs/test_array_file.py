"""Arrays of a run: named by rows, whole or not there, and refused where they are others."""

import dataclasses
import io
import os
import pickle
import zipfile
from typing import Annotated

import numpy as np
import pytest

import glassesjax.runs.fill as filling
from glassesjax.errors import BadInput
from glassesjax.runs.array_file import ARRAYS, ArrayFile, StoredArrays, write_arrays
from glassesjax.runs.fill import Opened, Step, fill
from glassesjax.runs.record import Member, Stored, columns, from_row, members, to_row
from glassesjax.runs.row_schema import RowSchema
from glassesjax.runs.rows import read_rows
from glassesjax.runs.run import Result, read_run


@dataclasses.dataclass(frozen=True, kw_only=True)
class Walk:
    """A made-up row."""

    n: int
    """Which one."""
    steps: int
    """How many."""
    places: Annotated[str, Stored(("int32", "float64"), ("steps", "n"))] | None = None
    """Where it was after each."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shared:
    """What made-up rows have in common."""

    study: str
    """Its name."""


ROWS = RowSchema(kinds=(Walk,), constants=Shared, key=("n",))


def walk(n, steps=3):
    """A row with its array, by its name."""
    values = np.arange(n * steps, dtype=np.float64).reshape(steps, n)
    return Walk(n=n, steps=steps, places=f"places/{n}"), {f"places/{n}": values}


def made(n):
    row, arrays = walk(n)
    return Step(f"walk {n}", [row], arrays)


def filled(out, steps):
    """A run into which these steps are measured, where they are not there."""
    return fill(
        out,
        Opened(constants=Shared(study="made"), measure=lambda done: steps),
        known={"study": "made"},
        schema=ROWS,
        result=lambda run: Result(
            run=run, summary=Shared(study="sum"), headline="", figures={}, files=dict
        ),
    )


def stored(path, *rows):
    return StoredArrays(path, rows)


def test_a_record_names_an_array_and_says_what_it_is():
    row, _ = walk(2)
    assert to_row(row) == {"n": 2, "steps": 3, "places": "places/2"}
    assert from_row(Walk, to_row(row)) == row
    assert list(members(row)) == [Member("places/2", ("int32", "float64"), (3, 2))]
    assert list(members(Walk(n=1, steps=3))) == []
    (column,) = [column for column in columns(Walk) if column.stored]
    assert column.type == "name of an array of int32 or float64, by steps and n"
    with pytest.raises(BadInput, match="Expected name of an array of int32 or float64, by steps"):
        from_row(Walk, to_row(row) | {"places": 3})


def test_a_run_gives_its_arrays_back(tmp_path):
    result = filled(tmp_path / "run", [made(1), made(2), ("none", [Walk(n=3, steps=1)])])
    run = read_run(tmp_path / "run", ROWS)
    assert list(run.arrays) == ["places/1", "places/2"]
    for n in (1, 2):
        np.testing.assert_array_equal(run.arrays[f"places/{n}"], walk(n)[1][f"places/{n}"])
        assert result.array(f"places/{n}").dtype == np.float64
    with pytest.raises(BadInput, match="Expected the name of an array in a row of this run"):
        result.array("places/3")
    saved = result.save(tmp_path / "saved")
    assert (saved / ARRAYS).read_bytes() == (tmp_path / "run" / ARRAYS).read_bytes()
    assert list(read_run(saved, ROWS).arrays) == list(run.arrays)


def test_equal_arrays_are_equal_bytes(tmp_path):
    arrays = walk(1)[1] | walk(2)[1]
    write_arrays(tmp_path / "a.npz", arrays)
    write_arrays(tmp_path / "b.npz", dict(reversed(arrays.items())))
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


class Killed(BaseException):
    """As a signal would."""


def test_a_kill_between_arrays_and_rows_loses_and_doubles_nothing(tmp_path, monkeypatch):
    whole = filled(tmp_path / "whole", [made(1), made(2), made(3)])
    filled(tmp_path / "run", [made(1)])

    def killed(*args):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(filling.RowFile, "append", killed)
        with pytest.raises(Killed):
            filled(tmp_path / "run", [made(7)])
    # An array without a row: nobody reads it, and the next write leaves it out.
    with zipfile.ZipFile(tmp_path / "run" / ARRAYS) as file:
        assert file.namelist() == ["places/1.npy", "places/7.npy"]
    assert list(read_run(tmp_path / "run", ROWS).arrays) == ["places/1"]
    result = filled(tmp_path / "run", [made(1), made(2), made(3)])
    assert result.run.rows == whole.run.rows
    assert len(read_rows(tmp_path / "run" / "rows.jsonl")) == 3
    assert (tmp_path / "run" / ARRAYS).read_bytes() == (tmp_path / "whole" / ARRAYS).read_bytes()


def test_rows_that_are_there_keep_their_arrays(tmp_path):
    filled(tmp_path, [made(1)])
    before = (tmp_path / ARRAYS).read_bytes()
    other = {"places/1": -walk(1)[1]["places/1"], "places/2": walk(2)[1]["places/2"]}
    filled(tmp_path, [Step("both", [walk(1)[0], walk(2)[0]], other)])
    run = read_run(tmp_path, ROWS)
    np.testing.assert_array_equal(run.arrays["places/1"], walk(1)[1]["places/1"])
    np.testing.assert_array_equal(run.arrays["places/2"], walk(2)[1]["places/2"])
    assert (tmp_path / ARRAYS).read_bytes() != before


def test_a_run_without_arrays_has_no_such_file(tmp_path):
    filled(tmp_path, [("none", [Walk(n=3, steps=1)])])
    assert not (tmp_path / ARRAYS).exists()
    assert len(read_run(tmp_path, ROWS).arrays) == 0


def npz(**arrays):
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def member(content):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("places/2.npy", content)
    return file.getvalue()


GOOD = npz(**walk(2)[1])


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (None, "got no such file: restore it, or choose another --out"),
        (b"", "got none that can be read"),
        (GOOD[:-30], "got none that can be read"),
        (GOOD.replace(np.float64(4).tobytes(), np.float64(4.5).tobytes()), "got none that can be"),
        (b"rubbish", "got none that can be read"),
        (pickle.dumps(walk), "got none that can be read"),
        (member(b"rubbish"), "got none that can be read"),
        (member(b"\x93NUMPY\x01\x00\x10\x00{'descr': '<f8',"), "got none that can be read"),
        (npz(**walk(1)[1]), "got none: restore"),
        (npz(**{"places/2": np.zeros((3, 2), np.float32)}), "got one of float32 and shape"),
        (npz(**{"places/2": np.zeros((2, 2))}), r"got one of float64 and shape \(2, 2\)"),
        (npz(**{"places/2": np.zeros(6)}), r"got one of float64 and shape \(6,\)"),
        (npz(**{"places/2": np.array([[None]])}), "got one of object and shape"),
    ],
)
def test_what_is_not_the_array_that_a_row_names_is_one_line(tmp_path, content, text):
    row, path = walk(2)[0], tmp_path / ARRAYS
    if content is not None:
        path.write_bytes(content)
    wanted = r"Expected an array of int32 or float64 and shape \(3, 2\) as 'places/2' in .*"
    with pytest.raises(BadInput, match=wanted + text) as caught:
        _ = stored(path, row)["places/2"]
    assert "\n" not in str(caught.value)
    with pytest.raises(BadInput, match=text):
        ArrayFile(path, [row])


def test_what_is_no_regular_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / ARRAYS)
    with pytest.raises(BadInput, match="a pipe and no regular file"):
        _ = stored(tmp_path / ARRAYS, walk(2)[0])["places/2"]


def test_a_run_with_damaged_arrays_is_refused_before_anything_is_measured(tmp_path):
    filled(tmp_path, [made(1)])
    before = (tmp_path / "rows.jsonl").read_bytes()
    (tmp_path / ARRAYS).write_bytes(b"PK")
    with pytest.raises(BadInput, match="restore it, or choose another --out"):
        filled(tmp_path, [made(1), made(2)])
    assert (tmp_path / "rows.jsonl").read_bytes() == before
    assert len(read_run(tmp_path, ROWS).rows) == 1  # whoever needs no array can read on


def test_a_step_whose_arrays_are_missing_is_a_bug(tmp_path):
    with pytest.raises(KeyError, match="places/2"):
        filled(tmp_path, [Step("walk", [walk(2)[0]], {})])
    assert read_rows(tmp_path / "rows.jsonl") == []


@pytest.mark.parametrize(
    ("array", "text"),
    [(np.zeros((3, 2), np.float32), "float32"), (np.zeros((2, 2)), r"shape \(2, 2\)")],
    ids=["type", "shape"],
)
def test_a_study_that_makes_a_wrong_array_is_a_bug(tmp_path, array, text):
    row, _ = walk(2)
    step = Step("walk 2", [row], {"places/2": array})
    with pytest.raises(TypeError, match=f"Expected an array of int32 or float64.*{text}"):
        filled(tmp_path / "run", [step])
    assert not (tmp_path / "run" / ARRAYS).exists()
    assert read_rows(tmp_path / "run" / "rows.jsonl") == []
