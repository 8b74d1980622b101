"""Rows as records: what is written, what is read, and what is refused."""

import dataclasses
import itertools
import json
import math
from pathlib import Path
from typing import Literal

import pytest

from glassesjax import registry
from glassesjax.errors import BadInput
from glassesjax.files import mark_of, to_json
from glassesjax.runs.constants import ModelConstants
from glassesjax.runs.fill import Opened, fill
from glassesjax.runs.journal import Journal
from glassesjax.runs.provenance import provenance
from glassesjax.runs.record import columns, from_row, names, read_as, to_row
from glassesjax.runs.row_schema import RowSchema
from glassesjax.runs.rows import RowFile, read_rows
from glassesjax.runs.run import Result, read_run, summary_fields
from glassesjax.runs.upgrade import KEPT, PENDING, numbered
from glassesjax.runs.verdicts import passes


@dataclasses.dataclass(frozen=True, kw_only=True)
class Estimate:
    """A mean."""

    mean: float
    """Of all draws."""
    error: float | None = None
    """Its standard error."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Made:
    """A made-up row."""

    n: int
    """Which one."""
    mode: Literal["exact", "drawn"] = "exact"
    """How."""
    gap: float = 0.5
    """In units."""
    sizes: tuple[int, ...] | None = None
    """Several."""
    sure: bool | None = None
    """Whether."""
    estimate: Estimate | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shared:
    """What made-up rows have in common."""

    study: str
    """Its name."""
    width: int
    """Of all."""


ROWS = RowSchema(
    kinds=(Made,),
    constants=Shared,
    key=("n",),
    renamed={"dist": "gap"},
    values={"mode": {"by draws": "drawn"}},
    dropped=("label",),
)


@pytest.mark.parametrize(
    ("record", "row"),
    [
        (Made(n=1), {"n": 1, "mode": "exact", "gap": 0.5}),
        (
            Made(n=2, mode="drawn", sizes=(3, 4), sure=False, estimate=Estimate(mean=0.25)),
            {"n": 2, "mode": "drawn", "gap": 0.5, "sizes": (3, 4), "sure": False, "mean": 0.25},
        ),
    ],
)
def test_a_record_comes_back_as_it_went(record, row):
    assert to_row(record) == row
    assert from_row(Made, json.loads(to_json(row))) == record


def test_null_is_a_number_that_is_not_finite_and_absence_is_none():
    row = json.loads(to_json(to_row(Made(n=1, gap=math.inf, estimate=Estimate(mean=math.nan)))))
    assert row["gap"] is row["mean"] is None
    read = from_row(Made, row)
    assert math.isnan(read.gap)
    assert math.isnan(read.estimate.mean)
    assert read.estimate.error is None
    assert math.isnan(from_row(Made, row | {"error": None}).estimate.error)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"n": 1.0}, "Expected whole number as n in a row, got 1.0"),
        ({"n": True}, "whole number as n"),
        ({"n": None}, "whole number as n"),
        ({"mode": "guessed"}, "exact or drawn as mode"),
        ({"gap": "wide"}, "number as gap"),
        ({"gap": False}, "number as gap"),
        ({"sizes": "3,4"}, "list of whole number as sizes"),
        ({"sizes": [3, "4"]}, "list of whole number as sizes"),
        ({"sure": None}, "true or false as sure"),
        ({"error": 0.5}, "Expected mean in a row, got a row without it"),
    ],
)
def test_what_is_no_such_row_is_refused_by_field(change, text):
    with pytest.raises(BadInput, match=text):
        from_row(Made, to_row(Made(n=1)) | change)


def test_a_study_that_makes_a_wrong_record_is_a_bug():
    with pytest.raises(TypeError, match=r"Expected whole number as n of Made, got 1\.5"):
        to_row(Made(n=1.5))


def test_of_several_kinds_the_row_says_which():
    one, other = (
        dataclasses.make_dataclass(name, [("kind", Literal[name], name), ("n", int, 0)])
        for name in ("one", "other")
    )
    assert read_as((one, other), {"kind": "other", "n": 3}) == other("other", 3)
    with pytest.raises(BadInput, match="Expected one or other as kind"):
        read_as((one, other), {"n": 3})


RECORDS = list(registry.studies())


@pytest.mark.parametrize("study", RECORDS, ids=lambda study: study.name)
def test_every_field_of_a_study_says_what_it_means(study):
    schema = study.rows
    for kind in (*schema.kinds, schema.constants):
        assert kind.__doc__
        assert [column.name for column in columns(kind) if not column.doc.endswith(".")] == []
    types: dict[str, set[str]] = {}
    for column in itertools.chain.from_iterable(map(columns, (*schema.kinds, schema.constants))):
        types.setdefault(column.name, set()).add(column.type)
    assert [name for name in types if name != "kind" and len(types[name]) > 1] == []
    assert schema.fields.isdisjoint(names(schema.constants))
    assert set(schema.key) <= schema.fields


def old_rows(count=3):
    """In the words of schema 1, each with all that its run has in common."""
    return [
        {"study": "made", "width": 4, "jax": "0.1" if n < 2 else "0.2", "n": n, "label": f"row {n}",
         "mode": "by draws", "dist": None if n == 1 else n / 4, "sure": None, "mean": 0.5}
        for n in range(count)
    ]  # fmt: skip


NEW = [
    {"record": 0, "n": 0, "mode": "drawn", "gap": 0.0, "mean": 0.5},
    {"record": 0, "n": 1, "mode": "drawn", "gap": None, "mean": 0.5},
    {"record": 1, "n": 2, "mode": "drawn", "gap": 0.5, "mean": 0.5},
]


def test_rows_of_before_become_records_by_name_and_value():
    records, rows = numbered(old_rows(), ROWS)
    assert records == [{"study": "made", "width": 4, "jax": jax} for jax in ("0.1", "0.2")]
    assert rows == NEW


def old_folder(path):
    """A run of schema 1, with the marks of its two groups of rows."""
    path.mkdir()
    (path / "settings.json").write_text(to_json({"schema": 1, "study": "made", "width": 4}))
    with RowFile(path / "rows.jsonl", ("n",)) as file:
        journal = Journal(path, {"command": "made", "jax": "0.1"}, {})
        for rows in (old_rows()[:2], old_rows()[2:]):
            file.append(rows)
            journal.write(file)


def counted(run):
    """A run that comes down to how many rows it has."""
    return Result(
        run=run,
        summary={"rows": len(run.rows)},
        headline=f"{len(run.rows)} rows",
        figures={},
        files=lambda: {"index.html": "<p>"},
    )


def filled(path, ns, result=counted):
    """What a study of these rows does."""
    opened = Opened(
        record={"weights": "none"},
        constants=Shared(study="made", width=4),
        measure=lambda done: [(str(n), [Made(n=n)]) for n in ns if not done({"n": n})],
    )
    known = {"study": "made", "width": 4}
    return fill(path, opened, known=known, schema=ROWS, result=result)


def test_each_row_as_read_says_where_it_was_made(tmp_path):
    whole = filled(tmp_path / "run", range(2))
    for row in whole.run.flat():
        assert row == row | provenance() | {"study": "made", "width": 4}


def test_a_folder_of_before_is_read_as_it_is(tmp_path):
    old_folder(tmp_path / "run")
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    run = read_run(tmp_path / "run", ROWS)
    assert [row.n for row in run.rows] == [0, 1, 2]
    assert run.constants == Shared(study="made", width=4)
    assert [row["jax"] for row in run.flat()] == ["0.1", "0.1", "0.2"]
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()} == before


def test_a_folder_of_before_is_continued_in_todays_words(tmp_path):
    old_folder(tmp_path / "run")
    old = (tmp_path / "run" / "rows.jsonl").read_bytes()
    for _ in range(2):
        whole = filled(tmp_path / "run", range(5))
        rows = read_rows(tmp_path / "run" / "rows.jsonl", lists=True)
        assert rows[:3] == NEW
        assert [row["n"] for row in rows] == [row.n for row in whole.run.rows] == [0, 1, 2, 3, 4]
        assert [row["record"] for row in rows] == [0, 0, 1, 2, 2]
        assert json.loads((tmp_path / "run" / "summary.json").read_text()) == {
            "headline": "5 rows",
            "rows": 5,
        }
    assert (tmp_path / "run" / KEPT[1]).read_bytes() == old
    record = json.loads((tmp_path / "run" / "provenance.json").read_text())
    assert [mark[0] for mark in record["row_marks"]] == [2, 3, 4, 5]
    assert mark_of(tmp_path / "run" / "rows.jsonl", 3).sha256 == record["row_marks"][1][1]
    assert record["unmarked_rows"] == []


def test_rows_that_were_changed_before_are_refused_after(tmp_path):
    old_folder(tmp_path / "run")
    path = tmp_path / "run" / "rows.jsonl"
    path.write_text(path.read_text().replace('"mean": 0.5', '"mean": 0.75', 1))
    with pytest.raises(BadInput, match="Expected the rows that this run wrote, got others"):
        filled(tmp_path / "run", range(5))


@pytest.mark.parametrize("at", range(1, 7))
def test_a_process_killed_while_rows_become_records_loses_nothing(tmp_path, monkeypatch, at):
    """Killed before each of the renamings in turn."""
    old_folder(tmp_path / "run")
    replace, left = Path.replace, iter(range(at - 1, -1, -1))

    def killed(self, target):
        if next(left, 1) == 0:
            raise KeyboardInterrupt
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        filled(tmp_path / "run", range(3))
    monkeypatch.undo()
    filled(tmp_path / "run", range(3))
    assert read_rows(tmp_path / "run" / "rows.jsonl", lists=True) == NEW
    assert not any((tmp_path / "run" / name).exists() for name in PENDING.values())


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"record": 7}, "Expected the number of one of 2 records as record in line 1"),
        ({"record": None}, "as record in line 1"),
        ({"gap": "wide"}, "Expected number as gap in line 1"),
    ],
)
def test_a_damaged_row_is_named_by_its_line(tmp_path, change, text):
    old_folder(tmp_path / "run")
    filled(tmp_path / "run", range(3))
    path = tmp_path / "run" / "rows.jsonl"
    first, *rest = path.read_text().splitlines(keepends=True)
    path.write_text(to_json(json.loads(first) | change) + "\n" + "".join(rest))
    record = tmp_path / "run" / "provenance.json"  # without marks, which would speak first
    record.write_text(to_json({"records": json.loads(record.read_text())["records"]}))
    with pytest.raises(BadInput, match=text):
        read_run(tmp_path / "run", ROWS)


def test_an_error_over_rows_of_the_run_itself_is_a_bug(tmp_path):
    def fails(run):
        raise KeyError("missing")

    with pytest.raises(KeyError):
        filled(tmp_path / "run", range(2), fails)
    with (tmp_path / "run" / "rows.jsonl").open("a") as file:
        file.write(to_json({"record": 0, **to_row(Made(n=7))}) + "\n")
    with pytest.raises(BadInput, match="Expected rows as this study writes them"):
        filled(tmp_path / "run", range(2), fails)


def test_a_summary_is_plain_and_keeps_what_is_not_text_as_pairs():
    summary = {("a", 1): Estimate(mean=math.nan), "b": (1, None)}
    assert json.loads(to_json(summary_fields(summary))) == [
        [["a", 1], {"mean": None, "error": None}],
        ["b", [1, None]],
    ]


def test_constants_of_a_model_without_a_digest_have_none():
    row = to_row(
        ModelConstants(
            study="x", model="toy", weights="toy seed 0", weights_sha256=None, model_seed=0,
            seed=0, model_dim=8,
        )
    )  # fmt: skip
    assert "weights_sha256" not in row
    assert from_row(ModelConstants, row).weights_sha256 is None


@pytest.mark.parametrize(
    ("finite", "failures"),
    [
        ([True, None], []),
        ([True, False, None], ["the unrounded pass is not finite, in 1 of 2 rows"]),
    ],
)
def test_passes_are_counted_where_rows_say_of_them(finite, failures):
    assert passes(finite).failures == failures


@pytest.mark.parametrize("what", ["rows", "record"])
def test_a_process_killed_around_its_first_row_leaves_a_run_that_continues(
    tmp_path, monkeypatch, what
):
    """After its record is on disk, and before a row is; after a row is, and before its mark."""
    write = RowFile.append

    def killed(self, rows):
        if what == "rows":
            write(self, rows)
        raise KeyboardInterrupt

    monkeypatch.setattr(RowFile, "append", killed)
    with pytest.raises(KeyboardInterrupt):
        filled(tmp_path / "run", [0])
    monkeypatch.undo()
    whole = filled(tmp_path / "run", [0])
    assert [
        (row.n, number) for row, number in zip(whole.run.rows, whole.run.numbers, strict=True)
    ] == [(0, 0)]
    assert len(whole.run.records) == 1


@pytest.mark.parametrize("records", ["3", '{"a": 1}', "[1]", '[{"study": "made"}, 1]'])
def test_damaged_records_are_one_line(tmp_path, records):
    filled(tmp_path / "run", range(2))
    path = tmp_path / "run" / "provenance.json"
    path.write_text(f'{{"records": {records}}}')
    with pytest.raises(BadInput, match="Expected a list of JSON objects as records"):
        read_run(tmp_path / "run", ROWS)
    with pytest.raises(BadInput, match="Expected a list of JSON objects as records"):
        filled(tmp_path / "run", range(3))


@pytest.mark.parametrize("content", ["[", '{"row_marks": [[1]]}', '{"row_marks": [3, ["a", "b"]]}'])
def test_a_folder_of_before_with_a_damaged_record_is_continued(tmp_path, content):
    old_folder(tmp_path / "run")
    (tmp_path / "run" / "provenance.json").write_text(content)
    assert [row.n for row in filled(tmp_path / "run", range(4)).run.rows] == [0, 1, 2, 3]


def test_a_folder_that_is_just_brought_up_to_date_is_read(tmp_path):
    old_folder(tmp_path / "run")
    filled(tmp_path / "run", range(3))
    before = read_run(tmp_path / "run", ROWS)
    for name, pending in PENDING.items():  # as if the process were between two renamings
        (tmp_path / "run" / name).rename(tmp_path / "run" / pending)
    (tmp_path / "run" / "rows.schema-1.jsonl").rename(tmp_path / "run" / "rows.jsonl")
    assert read_run(tmp_path / "run", ROWS).records == before.records
    assert [row.n for row in read_run(tmp_path / "run", ROWS).rows] == [0, 1, 2]


def test_a_run_of_before_that_was_saved_is_continued(tmp_path):
    old_folder(tmp_path / "run")
    counted(read_run(tmp_path / "run", ROWS)).save(tmp_path / "saved")
    assert [row.n for row in filled(tmp_path / "saved", range(4)).run.rows] == [0, 1, 2, 3]


def test_rows_that_do_not_count_stay_in_the_file_and_are_in_no_run(tmp_path):
    """With what is noted of their process alone; ``provenance.json`` may say which ones count."""
    old_folder(tmp_path / "run")
    filled(tmp_path / "run", range(5))
    file = (tmp_path / "run" / "rows.jsonl").read_bytes()
    assert [record["jax"] for record in read_run(tmp_path / "run", ROWS).records[:2]] == [
        "0.1",
        "0.2",
    ]
    late = dataclasses.replace(
        ROWS, counting=lambda rows, noted: [noted["weights"] == "none" and r.n > 1 for r in rows]
    )
    run = read_run(tmp_path / "run", late)
    assert [row.n for row in run.rows] == [2, 3, 4]
    assert run.numbers == [0, 1, 1]
    assert [record["jax"] for record in run.records] == ["0.2", provenance()["jax"]]
    assert [row["jax"] for row in run.flat()] == ["0.2", *2 * [provenance()["jax"]]]
    assert (tmp_path / "run" / "rows.jsonl").read_bytes() == file
    again = read_run(counted(run).save(tmp_path / "saved"), late)
    assert (again.rows, again.numbers, again.records) == (run.rows, run.numbers, run.records)
    none = dataclasses.replace(ROWS, counting=lambda rows, noted: [False] * len(rows))
    with pytest.raises(BadInput, match=r"Expected rows that count in .*, got only others"):
        read_run(tmp_path / "run", none)


def test_a_record_has_what_a_study_sets_for_its_own_rows(tmp_path, monkeypatch):
    """As the precision of products, which is another one outside the measurements."""
    monkeypatch.setattr("glassesjax.runs.fill.provenance", lambda: {"width": 9, "jax": "0.3"})
    [record] = filled(tmp_path / "run", range(1)).run.records
    assert record == {"study": "made", "width": 4, "jax": "0.3"}


def test_rows_that_were_changed_are_not_read(tmp_path):
    filled(tmp_path / "run", range(3))
    path = tmp_path / "run" / "rows.jsonl"
    path.write_text(path.read_text().replace('"gap": 0.5', '"gap": 0.25', 1))
    with pytest.raises(BadInput, match="Expected the rows that this run wrote"):
        read_run(tmp_path / "run", ROWS)


def test_a_list_in_a_field_of_the_key_is_named(tmp_path):
    filled(tmp_path / "run", range(1))
    (tmp_path / "run" / "rows.jsonl").write_text('{"record": 0, "n": [0]}\n')
    with pytest.raises(BadInput, match="whole number as n in line 1"):
        filled(tmp_path / "run", range(2))


def test_a_number_that_is_none_is_never_written():
    with pytest.raises(TypeError, match="Expected number as gap of Made, got None"):
        to_row(Made(n=1, gap=None))
