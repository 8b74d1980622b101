"""What a run folder says of its own making: code, and rows that were changed behind its back."""

import dataclasses
import json
import shutil
import subprocess

import pytest

from glassesjax.cli import run
from glassesjax.errors import BadInput
from glassesjax.runs import journal, provenance
from glassesjax.runs.fill import Opened, fill
from glassesjax.runs.journal import Journal
from glassesjax.runs.row_schema import RowSchema
from glassesjax.runs.rows import RowFile, read_rows
from glassesjax.runs.run import Result

pytestmark = pytest.mark.usefixtures("undrawn")

WORDS = ["verify", "--only", "lem_b7", "--out"]  # of the quickest


def rows_of(count):
    return [{"name": "a", "length": n} for n in range(count)]


@pytest.fixture
def written(tmp_path):
    """A run of three groups of two rows."""
    with RowFile(tmp_path / "rows.jsonl", ("name", "length")) as file:
        mine = Journal(tmp_path, {"command": "x"}, {"commit": "a"})
        for count in (2, 4, 6):
            file.append(rows_of(count))
            mine.write(file)
    return tmp_path


def intact(folder, *, refuse=False):
    with RowFile(folder / "rows.jsonl", ("name", "length")) as file:
        return Journal(folder, {}, {}).intact(file, refuse=refuse)


def edit(folder, change):
    path = folder / "rows.jsonl"
    path.write_text("".join(change(path.read_text().splitlines(keepends=True))))


def test_rows_that_were_written_stand(written):
    assert intact(written, refuse=True) == 6


@pytest.mark.parametrize(
    ("change", "stand"),
    [
        (lambda lines: [lines[0], lines[1].replace("1", "7"), *lines[2:]], 0),
        (lambda lines: [*lines[:2], *lines[3:], '{"name": "b", "length": 1}\n'], 2),
        (lambda lines: [*lines[:3], '{"name": "b", "length": 1}\n', *lines[3:]], 2),
        (lambda lines: [*lines[:4], lines[5], lines[4]], 4),
    ],
    ids=["changed", "replaced", "added", "order"],
)
def test_rows_that_were_changed_are_refused_or_made_again(written, change, stand):
    edit(written, change)
    with pytest.raises(BadInput, match=f"lines {stand + 1} to {stand + 2} of"):
        intact(written, refuse=True)
    assert intact(written) == stand


def test_rows_that_are_gone_at_the_end_are_made_again_with_their_group(written):
    edit(written, lambda lines: lines[:5])
    assert intact(written, refuse=True) == 4
    edit(written, lambda lines: [])
    assert intact(written, refuse=True) == 0


def test_rows_beyond_the_last_mark_stay(written):
    edit(written, lambda lines: [*lines, '{"name": "b", "length": 1}\n'])
    assert intact(written, refuse=True) == 7


@pytest.mark.parametrize("said", ["", "{", "[]", '{"row_marks": 3}', '{"row_marks": [[1]]}'])
def test_without_marks_all_rows_count(written, said):
    (written / "provenance.json").write_text(said)
    edit(written, lambda lines: lines[1:])
    assert intact(written, refuse=True) == 5


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("journal") / "run"
    assert run([*WORDS, str(out)]) == 0
    return out


def test_a_row_that_lost_a_field_is_one_line(finished, tmp_path, capsys):
    out = shutil.copytree(finished, tmp_path / "run")
    rows = read_rows(out / "rows.jsonl", lists=True)
    del rows[1]["measured"]
    edit(out, lambda lines: [json.dumps(row) + "\n" for row in rows])
    before = (out / "rows.jsonl").read_bytes()
    capsys.readouterr()
    assert run([*WORDS, str(out)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "Expected measured in line 2 of" in error
    assert (out / "rows.jsonl").read_bytes() == before


def test_a_run_that_other_code_continues_says_so(finished, tmp_path, capsys, monkeypatch):
    out = shutil.copytree(finished, tmp_path / "run")
    noted = lambda: json.loads((out / "provenance.json").read_text())["records"]
    [first] = noted()
    assert run([*WORDS, str(out)]) == 0
    assert "continued by other code" not in capsys.readouterr().err
    other = {**provenance.code_fields(), "commit": "0" * 40}
    for module in (journal, provenance):
        monkeypatch.setattr(module, "code_fields", lambda: other)
    assert run([*WORDS, str(out)]) == 0  # which makes no row
    assert noted() == [first]
    for _ in range(2):
        assert run(["verify", "--only", "fig_8", "--out", str(out)]) == 0
    assert capsys.readouterr().err.count("is continued by other code: commit 0000") == 1
    assert noted() == [first, {**first, **other}]
    assert "continued under" in (out / "index.html").read_text()


def git(folder, *words):
    who = ["-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run(["git", *who, *words], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def repository(tmp_path):
    package = tmp_path / "source" / "package"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    git(tmp_path, "init", "-q", "source")
    git(package, "add", ".")
    git(package, "commit", "-qm", "first")
    yield package
    provenance.commit.cache_clear()
    provenance.source_digest.cache_clear()


def commit(package):
    provenance.commit.cache_clear()
    return provenance.commit(package)


def test_the_commit_and_whether_it_is_changed(repository, monkeypatch):
    found = commit(repository)
    assert len(found) == 40
    monkeypatch.setenv("GIT_DIR", "/nowhere")  # as inside a hook of another repository
    assert commit(repository) == found
    (repository.parent / "notes.txt").write_text("beside the package")
    assert commit(repository) == found
    (repository / "__init__.py").write_text("x = 1\n")
    assert commit(repository) == f"{found}-changed"
    monkeypatch.setenv("PATH", "/nowhere")
    assert commit(repository) == ""


def test_a_package_below_a_foreign_repository_has_no_commit(repository):
    installed = repository.parent / "venv" / "package"
    installed.mkdir(parents=True)
    (installed / "__init__.py").write_text("")
    assert commit(installed) == ""


def test_the_digest_is_of_names_and_content(tmp_path):
    def digest():
        provenance.source_digest.cache_clear()
        return provenance.source_digest(tmp_path)

    (tmp_path / "a.py").write_text("x = 1\n")
    seen = {digest()}
    (tmp_path / "notes.txt").write_text("no module")
    assert digest() in seen
    (tmp_path / "a.py").write_text("x = 2\n")
    seen.add(digest())
    (tmp_path / "a.py").rename(tmp_path / "b.py")
    seen.add(digest())
    assert len(seen) == 3
    provenance.source_digest.cache_clear()


def test_the_precision_of_products_is_observed(monkeypatch):
    from glassesjax.model import layers

    assert provenance.provenance()["matmul_precision"] == "highest"
    monkeypatch.setattr(
        layers, "exact", lambda names, x, y, carrier: layers.jnp.einsum(names, x, y)
    )
    assert layers.matmul_precision.__wrapped__() == "default"


# Whom an error over rows is blamed on.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Counted:
    """A number."""

    n: int
    """Whole."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shared:
    """What rows share."""

    study: str = "x"
    """The verb."""


SCHEMA = RowSchema(kinds=(Counted,), constants=Shared, key=("n",))


def filled(out, draw=lambda rows: None, count=2):
    def result(run):
        draw(run.rows)
        return Result(run=run, summary={}, headline="", figures={}, files=dict)

    steps = lambda done: [(str(n), [Counted(n=n)]) for n in range(count) if not done({"n": n})]
    opened = Opened(constants=Shared(), measure=steps)
    return fill(out, opened, known={"study": "x"}, schema=SCHEMA, result=result)


def a_bug(rows):
    raise AttributeError("planted")


def test_rows_as_this_code_wrote_them_are_not_to_blame(tmp_path):
    filled(tmp_path)
    for count in (2, 3):  # finished, or continued
        with pytest.raises(AttributeError):
            filled(tmp_path, a_bug, count)


def test_rows_of_other_code_may_lack_a_field_and_no_more(tmp_path):
    filled(tmp_path)
    record = tmp_path / "provenance.json"
    noted = json.loads(record.read_text())
    noted["records"][0]["source_sha256"] = "other"
    record.write_text(json.dumps(noted))
    with pytest.raises(AttributeError):
        filled(tmp_path, a_bug)
    rows = (tmp_path / "rows.jsonl").read_text().replace('"n"', '"m"')
    noted["row_marks"] = []
    record.write_text(json.dumps(noted))
    (tmp_path / "rows.jsonl").write_text(rows)
    with pytest.raises(BadInput, match="Expected n in line 1"):
        filled(tmp_path)


@pytest.mark.parametrize("kind", ["no marks", "a row behind them"])
def test_rows_that_nobody_vouches_for_are_blamed_however_often(tmp_path, kind):
    filled(tmp_path)
    if kind == "no marks":
        record = tmp_path / "provenance.json"
        record.write_text(json.dumps({"records": json.loads(record.read_text())["records"]}))
    else:
        edit(tmp_path, lambda lines: [*lines, '{"record": 0, "n": 7}\n'])
    for count in (2, 3):
        with pytest.raises(BadInput, match="Expected rows as this study writes them"):
            filled(tmp_path, a_bug, count)
