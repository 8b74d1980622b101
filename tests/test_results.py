"""A run read from its folder: rows, summary, figures, and what other programs get of them."""

import json
import math

import numpy as np
import pandas
import pytest
from studies.bounded.made_bounded import made_distances, made_tokens, result_of
from studies.collapse.made_rows import made_result, made_rows

import glassesjax
from glassesjax import exports
from glassesjax.cli import run
from glassesjax.errors import BadInput
from glassesjax.runs.run import summary_fields

FIGURES = ["distance", "equal-rotary", "rotary-ones_bos", "rotary-ones_zero"]


@pytest.fixture(scope="module")
def made():
    """A run whose signal overflows at one length, so that some numbers are not finite."""
    return made_result(signal=lambda n: None if n == 8 else 1 / n)


@pytest.fixture(scope="module")
def folder(made, tmp_path_factory):
    return made.save(tmp_path_factory.mktemp("made") / "run")


def test_what_was_saved_is_read_as_it_was(made, folder):
    read = glassesjax.read(folder)
    assert read.summary_text() == made.summary_text()
    pandas.testing.assert_frame_equal(read.frame(), made.frame())
    assert (read.run.settings, read.run.records) == (made.run.settings, made.run.records)
    assert read.headline == made.headline
    assert read.files() == made.files()


def test_it_is_saved_into_a_new_folder_only(made, folder):
    with pytest.raises(BadInput, match="Expected a new or empty folder"):
        made.save(folder)


def test_a_table_has_a_column_a_field_with_its_type(made):
    table = made.frame()
    assert len(table) == len(made_rows())
    assert table.length.dtype == np.int64
    assert table.token.dtype == pandas.Int64Dtype()  # of some rows only
    assert table.certified.dtype == pandas.BooleanDtype()
    assert set(table.model) == {"toy"}
    lost = table[(table.length == 8) & (table.curve == "signal")]
    assert lost.distance.isna().all()
    assert table[table.length == 4].distance.notna().all()


def test_tables_of_one_verb_have_the_same_columns(tmp_path):
    """Whatever was measured: one run has distances only, and one tokens of an estimate."""
    estimated = {"method": "estimated", "probes": 8}
    tokens = [
        {name: value for name, value in row.items() if name != "spectral"}
        for row in made_tokens("tova", (0.0, 1.0), (0, 3))
    ]
    results = result_of(made_distances("full", 9, {1: 1.0})), result_of(tokens, **estimated)
    runs = [each.save(tmp_path / str(at)) for at, each in enumerate(results)]
    first, second = (glassesjax.read(run).frame() for run in runs)
    assert list(first.columns) == list(second.columns)
    assert first[["probes", "position", "token_text"]].isna().all(axis=None)
    assert first.probes.dtype == first.position.dtype == pandas.Int64Dtype()
    assert first.standard_error.dtype == second.distance.dtype == np.float64
    assert first.reaches.dtype == pandas.BooleanDtype()
    both = pandas.concat([first, second], ignore_index=True)
    assert both.position.dtype == pandas.Int64Dtype()
    pytest.importorskip("pyarrow")
    assert run(["export", str(runs[0]), "--to", "parquet", "--out", str(tmp_path)]) == 0
    again = pandas.read_parquet(tmp_path / "rows.parquet")
    assert (again.dtypes == first.dtypes).all()


def test_figures_are_drawn_anew_by_name(made):
    assert list(made.figures) == FIGURES
    first, again = made.figure("distance"), made.figure("distance")
    assert first is not again
    with pytest.raises(BadInput, match="Expected a figure out of distance, equal-rotary"):
        made.figure("collapse")


def test_a_notebook_shows_the_headline_over_a_figure(made):
    shown = made._repr_html_()
    assert made.headline in shown
    assert "<svg" in shown
    assert repr(made) == f"<Result of collapse, {len(made.run.rows)} rows: {made.headline}>"


@pytest.mark.parametrize("kind", ["csv", "parquet", "json"])
def test_exported_rows_are_the_table(made, folder, tmp_path, kind):
    pytest.importorskip("pyarrow") if kind == "parquet" else None
    assert run(["export", str(folder), "--to", kind, "--out", str(tmp_path)]) == 0
    (path,) = tmp_path.iterdir()
    table = made.frame()
    if kind == "json":
        rows = json.loads(path.read_text())
        assert [set(row) for row in rows] == [set(row) for row in made.run.flat()]
        assert [row["distance"] is None for row in rows] == table.distance.isna().tolist()
        return
    again = {"csv": pandas.read_csv, "parquet": pandas.read_parquet}[kind](path)
    assert list(again.columns) == list(table.columns)
    # Text has all digits of a number, and no types.
    np.testing.assert_array_equal(again.distance, table.distance)
    assert again.certified.isna().equals(table.certified.isna())
    assert kind == "csv" or (again.dtypes == table.dtypes).all()


@pytest.mark.parametrize(("kind", "start"), [("pdf", b"%PDF"), ("png", b"\x89PNG"), ("svg", b"<")])
def test_exported_figures_are_files_of_their_kind(folder, kind, start, capsys):
    assert run(["export", str(folder), "--to", kind]) == 0
    paths = sorted((folder / "export").glob(f"*.{kind}"))
    assert [path.stem for path in paths] == sorted(FIGURES)
    assert all(path.read_bytes().startswith(start) for path in paths)
    assert sorted(capsys.readouterr().out.split()) == [str(path) for path in paths]


def test_parquet_without_its_package_is_one_line(folder, monkeypatch, capsys):
    monkeypatch.setattr(exports.importlib.util, "find_spec", lambda name: None)
    assert run(["export", str(folder), "--to", "parquet"]) == 2
    assert "pip install 'glassesjax[export]'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (None, "Expected a run folder with settings.json"),
        ("[", "Expected a JSON object in"),
        ('{"study": "models"}', "a verb of this package in"),
        ('{"study": "collapse", "schema": 3}', "Expected schema 1 or 2 or none"),
    ],
)
def test_what_is_no_run_is_one_line(tmp_path, content, text, capsys):
    if content is not None:
        (tmp_path / "settings.json").write_text(content)
    assert run(["export", str(tmp_path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert text in line


def test_runs_are_listed_with_what_they_come_down_to(made, tmp_path, capsys):
    made.save(tmp_path / "a" / "collapse")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "settings.json").write_text('{"study": "sweep"}')
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "settings.json").write_text("[")
    assert run(["runs", str(tmp_path)]) == 0
    first, second, third = capsys.readouterr().out.splitlines()
    assert first.startswith(str(tmp_path / "a" / "collapse"))
    assert f"{len(made.run.rows)} rows  {made.headline}" in first
    assert "sweep" in second
    assert "Expected a JSON object" in third
    assert run(["runs", str(tmp_path / "none")]) == 2


def test_two_runs_are_compared_by_settings_and_summary(made, folder, tmp_path, capsys):
    other = made_result(signal=lambda n: 1 / n).save(tmp_path / "other")
    assert run(["compare", str(folder), str(folder)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "settings: no differences", "made by: no differences", "summary: no differences",
    ]  # fmt: skip
    assert run(["compare", str(folder), str(other)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["settings: no differences", "made by: no differences"]
    assert "  reference.pairs_not_finite: 2 | 0" in lines
    (tmp_path / "settings.json").write_text('{"study": "sweep"}')
    assert run(["compare", str(folder), str(tmp_path)]) == 2
    assert "two runs of the same verb, got collapse and sweep" in capsys.readouterr().err


def test_a_summary_has_no_number_that_json_has_not(made):
    text = made.summary_text()
    assert "NaN" not in text
    assert "Infinity" not in text
    assert json.loads(text)["reference"]["pairs_not_finite"] == 2
    assert math.isnan(summary_fields(made_result(lengths=(1,)).summary)["panels"][0]["fit"]["low"])
