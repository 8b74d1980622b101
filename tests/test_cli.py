"""The command line: one clear line for bad input, a folder that a killed run continues."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from proofs.made_claims import WRONG, claim, install
from studies.influence.made_influence import made_rows, result_of

import glassesjax
from glassesjax.cli import run
from glassesjax.model.native_presets import PresetProbe
from glassesjax.precision import FORMATS, PRESETS, Site, backend_report
from glassesjax.runs.rows import read_rows
from proofs_numeric.verify import measure
from proofs_numeric.verify import run as ledger

# The cheapest of the studies with figures.
SMALL = ("--max-tokens", "8", "--policies", "window", "--slots", "4")


def retention(out, *more):
    return ["retention", "toy", *SMALL, *more, "--out", str(out)]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "toy"
    assert run(retention(out)) == 0
    return out


def test_a_run_leaves_what_the_design_names(finished):
    names = {path.name for path in finished.iterdir()}
    wanted = {"settings.json", "provenance.json", "rows.jsonl", "summary.json"}
    assert names == wanted | {"figures", "index.html"}
    assert json.loads((finished / "settings.json").read_text())["slots"] == ["4"]
    assert "glassesjax retention toy" in (finished / "provenance.json").read_text()
    assert {path.suffix for path in (finished / "figures").iterdir()} == {".svg"}
    page = (finished / "index.html").read_text()
    assert "<svg" in page
    assert "http" not in page.replace("http://www.w3.org", "")


def test_a_second_call_changes_no_row(finished):
    before = (finished / "rows.jsonl").read_bytes()
    assert run(retention(finished)) == 0
    assert (finished / "rows.jsonl").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["collapse", "gpt5"], "a folder with config.json, or what glassesjax train wrote"),
        (["collapse", "toy", "--families", "twos"], "'twos'"),
        (["collapse", "toy", "--lengths", "8", "4"], "ascending"),
        (["collapse", "toy", "--lengths", "9000"], "8192 tokens"),
        (["collapse", "toy", "--formats", "f31"], "f31"),
        (["collapse", "none.gguf"], "cannot be read"),
        (["collapse", "toy", "--lengths"], "lengths"),
        (["collapse", "toy", "--lengths", "many"], "lengths"),
        (["collapse", "toy", "--lenghts", "1"], "lenghts"),
        (["collapse"], "MODEL"),
        (["colapse", "toy"], "colapse"),
        (["influence", "gpt5"], "a folder with config.json, or what glassesjax train wrote"),
        (["influence", "toy", "--max-tokens", "9000"], "at most 8192 tokens"),
        (["influence", "toy", "--max-tokens", "2147483647"], "at most 8192 tokens"),
        (["influence", "toy", "--method", "exact", "--spectral", "4"], "layers from 0 to 3"),
        (["influence", "toy", "--spectral", "1"], "--method exact only"),
        (["influence", "toy", "--text", "kjv"], "leave --text out"),
        (["influence", "smollm2", "--text", "kjv", "--prompt", "In"], "leave one of the two out"),
        (["influence", "toy", "--prompt", "2+2"], "'+'"),
        (["influence", "toy", "--attention", "half"], "attention"),
        (["influence", "toy", "--probes", "1"], "2 or more"),
        (["influence", "toy", "--positions", "spiral"], "spiral"),
        (["influence", "none.gguf"], "cannot be read"),
        (["verify", "--only", "lem_b0"], "lem_b1"),
        (["verify", "--only", "lem_b1", "lem_b1"], "different --only"),
        (["verify", "--suite", "long"], "suite"),
        ([], "collapse"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(tmp_path, capsys, arguments, text):
    out = tmp_path / "out"
    tail = ["--out", str(out)] if len(arguments) > 1 and arguments[0] != "colapse" else []
    assert run([*arguments, *tail]) == 2
    error = capsys.readouterr().err
    assert text in error
    assert error.count("\n") == 1
    assert not out.exists()


def test_another_runs_folder_is_left_alone(finished, capsys):
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("*")}
    assert run(retention(finished, "--seed", "1")) == 2
    assert "got another run" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in finished.rglob("*")} == before


@pytest.mark.parametrize(
    ("kind", "bound", "status"),
    [("true", "printed", 0), ("frozen", "printed", 1), ("true", "repaired", 1)],
)
def test_influence_fails_where_a_bound_that_must_hold_is_exceeded(
    monkeypatch, capsys, kind, bound, status
):
    rows = made_rows(kinds=(kind,))
    rows[1] |= {bound: "exceeded", f"log10_over_{bound}": 1.0}
    whole = result_of(rows)
    measured = lambda *read: whole
    monkeypatch.setattr("glassesjax.studies.influence.run.run", measured, raising=False)
    assert run(["influence", "toy"]) == status
    printed = capsys.readouterr().out
    assert ("FAILED a bound that must hold is exceeded" in printed) == bool(status)
    assert ("is exceeded in 1 case:" in printed) == bool(status)


def test_help_says_units_and_exits_zero(capsys):
    with pytest.raises(SystemExit) as stop:
        run(["collapse", "--help"])
    assert stop.value.code == 0
    assert "in tokens of the run" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("verb", "flag"),
    [
        *((verb, "--formats") for verb in ("collapse", "perplexity", "train")),
        *((verb, "--format") for verb in ("influence", "generate", "retention")),
        *((verb, "--format") for verb in ("recall", "longform", "bounded")),
    ],
)
def test_help_lists_the_plans_by_their_parts(verb, flag, capsys):
    with pytest.raises(SystemExit):
        run([verb, "--help"])
    words = {word.strip(".,") for word in capsys.readouterr().out.split()}
    assert {flag, "docs/precision.md", *PRESETS, *Site, *FORMATS} - words == set()


def test_models_says_how_to_get_what_is_not_here(capsys):
    assert run(["models"]) == 0
    assert "smollm2" in capsys.readouterr().out


@pytest.fixture(scope="module")
def report():
    return backend_report()


def test_backend_prints_what_it_measured(report, monkeypatch, capsys):
    probe = PresetProbe("nvfp4", "part", "none", None, 0.0079, "fused", 0.587, "bf16")
    monkeypatch.setattr("glassesjax.model.native_presets.preset_report", lambda: [probe])
    assert run(["backend"]) == 0
    said = capsys.readouterr().out
    assert "cpu" in said
    assert all(name in said for name in report)
    table = said.partition("\n\n")[2].splitlines()
    assert [line.split() for line in table] == [
        list(PresetProbe._fields),
        ["nvfp4", "part", "none", "-", "0.0079", "fused", "0.59", "bf16"],
    ]


@pytest.fixture
def verify(monkeypatch, tmp_path, undrawn):
    """The verb on made-up claims, into one folder."""

    def call(claims, *more):
        install(monkeypatch, *claims)
        return run(["verify", *more, "--out", str(tmp_path / "ledger")])

    return call


def test_a_ledger_that_stands_exits_zero_and_leaves_a_page(verify, tmp_path, capsys):
    assert verify((claim("sound"),)) == 0
    names = {path.name for path in (tmp_path / "ledger").iterdir()}
    wanted = {"settings.json", "provenance.json", "rows.jsonl", "summary.json"}
    assert names == wanted | {"figures", "index.html"}
    assert (tmp_path / "ledger" / "figures" / "sound.svg").read_text().startswith("<svg")
    headline, page, following = capsys.readouterr().out.splitlines()
    assert headline.startswith("Yes: the claim holds where its hypotheses are met")
    assert page.startswith("Page: file://")
    assert following.startswith("Next: glassesjax export ")


@pytest.mark.parametrize(("made", "text"), WRONG.values(), ids=WRONG)
def test_a_ledger_that_does_not_stand_exits_one_and_says_why(verify, capsys, made, text):
    assert verify((claim("sound"), made)) == 1
    wrong = [line for line in capsys.readouterr().out.splitlines() if line.startswith("FAILED ")]
    assert any(text in line for line in wrong)
    assert verify((claim("sound"), made)) == 1  # read back, not measured


def test_a_ledger_is_filled_claim_by_claim(verify, tmp_path, capsys):
    claims = (claim("first"), claim("second"))
    assert verify(claims, "--only", "second") == 0
    half = (tmp_path / "ledger" / "rows.jsonl").read_bytes()
    assert "1 of 2 claims" in (tmp_path / "ledger" / "index.html").read_text()
    assert "first" not in capsys.readouterr().out
    assert verify(claims) == 0
    assert "2 of 2 claims" in (tmp_path / "ledger" / "index.html").read_text()
    whole = (tmp_path / "ledger" / "rows.jsonl").read_bytes()
    assert whole.startswith(half)
    assert verify(claims) == 0
    assert (tmp_path / "ledger" / "rows.jsonl").read_bytes() == whole


def test_rows_of_other_code_answer_for_nothing(verify, tmp_path, monkeypatch):
    made, _ = WRONG["violates"]
    assert verify((made,)) == 1
    for module in (measure, ledger):
        monkeypatch.setattr(module, "fingerprint", lambda *claims: "0" * 16)
    assert verify((claim("made"),)) == 0  # repaired, and measured again
    rows = read_rows(tmp_path / "ledger" / "rows.jsonl", lists=True)
    assert len({row["fingerprint"] for row in rows}) == 2
    result = glassesjax.read(tmp_path / "ledger")  # agrees with the page on which rows count
    assert {row.fingerprint for row in result.run.rows} == {"0" * 16}
    assert result.summary.standing == result.summary.measured == 1
    assert len(result.run.rows) == result.summary.measurements + 1 == len(result.frame())
    assert len(rows) == 2 * len(result.run.rows) - 1  # what violates has no equality


def test_a_ledger_says_its_summary_as_json(verify, tmp_path, capsys):
    assert verify((claim("sound"),), "--json") == 0
    text = capsys.readouterr().out
    assert json.loads(text) == json.loads((tmp_path / "ledger" / "summary.json").read_text())
    assert glassesjax.read(tmp_path / "ledger").summary_text(indent=None) == text.strip()


def test_a_ledger_of_before_claims_had_fingerprints_of_their_own_is_read(
    verify, tmp_path, monkeypatch
):
    """All its rows have one, and the code that they were made by is nobody's any more."""
    with monkeypatch.context() as before:
        for module in (measure, ledger):
            before.setattr(module, "fingerprint", lambda *claims: "0" * 16)
        assert verify((claim("kept"), claim("gone"))) == 0
    old = (tmp_path / "ledger" / "rows.jsonl").read_bytes()
    assert verify((claim("kept"), claim("new"))) == 0
    whole = (tmp_path / "ledger" / "rows.jsonl").read_bytes()
    assert whole.startswith(old)
    rows = read_rows(tmp_path / "ledger" / "rows.jsonl", lists=True)
    closed = [row for row in rows if row["kind"] == "closing"]
    assert [row["claim"] for row in closed] == ["kept", "gone", "kept", "new"]
    page = (tmp_path / "ledger" / "index.html").read_text()
    assert "2 of 2 claims" in page
    assert "claim-kept" in page
    assert "claim-gone" not in page
    assert verify((claim("kept"), claim("new"))) == 0  # and what is measured is not measured again
    assert (tmp_path / "ledger" / "rows.jsonl").read_bytes() == whole


def test_another_suite_is_another_run(verify, capsys):
    assert verify((claim(),)) == 0
    assert verify((claim(),), "--suite", "full") == 2
    assert "got another run" in capsys.readouterr().err


def test_enclosures_without_their_package_say_how_to_get_it(verify, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "flint", None)
    assert verify((claim(),), "--certified") == 2
    assert "pip install 'glassesjax[certified]'" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [4.0, 7.0, 10.0])
def test_a_run_killed_at_any_moment_ends_with_the_same_rows(tmp_path, seconds):
    command = [sys.executable, "-c", "from glassesjax.cli import main; main()"]
    arguments = ["collapse", "toy", "--families", "ones_bos", "ones", "--lengths", "1", "4", "16"]
    arguments += ["--positions", "none", "rotary", "--formats", "bf16", "f16", "--out"]
    out, whole = tmp_path / "killed", tmp_path / "whole"
    process = subprocess.Popen([*command, *arguments, str(out)], stderr=subprocess.DEVNULL)
    time.sleep(seconds)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    subprocess.run([*command, *arguments, str(out)], check=True, capture_output=True)
    subprocess.run([*command, *arguments, str(whole)], check=True, capture_output=True)
    rows_of = lambda run: list(map(json.loads, (run / "rows.jsonl").read_text().splitlines()))
    assert rows_of(out) == rows_of(whole)
