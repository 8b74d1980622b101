"""What older run folders mean in today's words.

A file says by its ``schema`` which names it uses; one without it was written before names had to be
told apart. Each change of a name's meaning is a row here, so that what was measured under the old
name is read, continued and never taken for what the name means now.
"""

import itertools
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from glassesjax.files import (
    MOST_SETTINGS,
    Mark,
    json_object,
    mark_of,
    read_file,
    to_json,
    whole_lines,
    write_by_rename,
)
from glassesjax.runs.record import from_row
from glassesjax.runs.record_file import CONTINUED, FILE, MARKS, RECORDS, marks_of, read_record
from glassesjax.runs.row_schema import NUMBER, RowSchema
from glassesjax.runs.rows import ROWS, marks, read_rows
from glassesjax.schema import SCHEMA, renamed_policy

# Rows and record in today's words, before ``settings.json`` says that they are.
PENDING = {ROWS: ".rows.jsonl.upgraded", FILE: ".provenance.json.upgraded"}
# The rows as an older schema had them, by that schema: nothing of a run is thrown away.
KEPT = {None: "rows.schema-0.jsonl", SCHEMA: "rows.schema-1.jsonl"}

# Before schema 1, no text meant the King James Bible, for models that read text.
_READ_KJV = ("perplexity", "retention", "bounded")
# Before schema 1, a text that was written ended at one token of a model that may end it at several.
_WRITES = ("generate", "longform", "recall")
# Studies some of whose rows of before schema 1 say less than today's or something else; these have
# no ``finite``, and their cells are measured again.
_MEASURED_AGAIN = ("collapse", "bounded")
_DECAY = "weight_decay_on"  # all weights decayed when no setting said which


def upgraded_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings in today's words.

    Args:
      settings: As ``settings.json`` has them.

    Returns:
      With ``schema`` first; the same if they had one.
    """
    if "schema" in settings:
        return dict(settings)
    new = {"schema": SCHEMA, **settings}
    if isinstance(names := new.get("policies"), list):
        new["policies"] = [renamed_policy(str(name)) for name in names]
    if isinstance(name := new.get("policy"), str):
        new["policy"] = renamed_policy(name)
    given = new.get("text") or new.get("prompt")
    if new.get("study") in _READ_KJV and "text" in new and _reads_text(new) and not given:
        new["text"] = "kjv"
    grid, axes = new.get("grid"), new.get("axes")
    if new.get("study") == "train":
        new.setdefault(_DECAY, "all")
    elif new.get("study") == "sweep" and isinstance(grid, list) and isinstance(axes, dict):
        new |= {"grid": [*grid, f"{_DECAY}=all"], "axes": {**axes, _DECAY: ["all"]}}
    return new


def obsolete(settings: Mapping[str, Any]) -> str | None:
    """Why no settings of today mean what some from before schema 1 did.

    Args:
      settings: As ``settings.json`` has them.

    Returns:
      The reason, as what was found there; none where today's words can say it, or with a schema.
    """
    study, axes = settings.get("study"), settings.get("axes")
    if "schema" in settings:
        return None
    if study == "influence":
        return "one of influence whose rows do not say their text"
    if study in _WRITES and _reads_text(settings):
        return f"one of {study} whose texts end at one token only"
    training = axes if study == "sweep" and isinstance(axes, dict) else settings
    several = lambda name: value if isinstance(value := training.get(name), list) else [value]
    # Heads that are no power of two had other slopes, which no setting names today.
    odd = [heads for heads in several("heads") if isinstance(heads, int) and heads & (heads - 1)]
    if study in ("train", "sweep") and odd and "alibi" in several("positions"):
        return f"one of {study} whose ALiBi slopes for {odd[0]} heads were a geometric ladder"
    return None


def _reads_text(settings: Mapping[str, Any]) -> bool:
    """Whether the model of a run reads text, as far as its name tells."""
    model = str(settings.get("model"))
    return model == "smollm2" or model.endswith(".gguf")


def upgraded_rows(
    rows: Iterable[Mapping[str, Any]], study: object = None
) -> Iterator[dict[str, Any]]:
    """Rows from before schema 1 in today's words.

    Args:
      rows: Each with or without a ``policy``.
      study: Whose they are.

    Yields:
      The same but for that name; those left out that are to be measured again, since they would be
      taken for what they do not say.
    """
    for row in rows:
        if study in _MEASURED_AGAIN and "finite" not in row:
            continue
        policy = row.get("policy")
        yield {**row, "policy": renamed_policy(policy)} if isinstance(policy, str) else dict(row)


def numbered(
    rows: Iterable[Mapping[str, Any]], schema: RowSchema[Any, Any]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows of schema 1 as records.

    Returns:
      What stands once, in numbered records, and the rows, each with its number.
    """
    records: list[dict[str, Any]] = []
    new = []
    for row in rows:
        shared, own = schema.upgraded(row)
        if shared not in records:
            records.append(shared)
        new.append({NUMBER: records.index(shared), **own})
    return records, new


def upgrade(path: Path, text: str, schema: RowSchema[Any, Any] | None) -> None:
    """Rows, record and settings of a folder in today's words, whatever kills the process meanwhile.

    The new files lie beside the old ones until the settings are renamed, and replace them then.

    Args:
      path: The run folder, locked.
      text: Its settings as they are written today.
      schema: How the study's rows are kept, where they are records.
    """
    settings = json_object(read_file(path / "settings.json", "settings", most=MOST_SETTINGS))
    if settings.get("schema") != json.loads(text).get("schema"):
        for name, content in _in_todays_words(path, settings, schema).items():
            write_by_rename(path / name, content)
        write_by_rename(path / "settings.json", text)
    for name, pending in PENDING.items():
        if (path / pending).is_file():
            (path / pending).replace(path / name)


def _in_todays_words(
    path: Path, settings: Mapping[str, Any], schema: RowSchema[Any, Any] | None
) -> dict[str, str]:
    """The text of each file that replaces another one, by its name until then."""
    rows = path / ROWS
    if not rows.is_file():
        return {}
    old: Iterable[Mapping[str, Any]] = read_rows(rows)
    if "schema" not in settings:
        old = upgraded_rows(old, settings.get("study"))
    if schema is None:
        return {PENDING[ROWS]: _lines(old)}
    records, new = numbered(old, schema)
    # Nothing is written of what today's code cannot read.
    for number, row in enumerate(new, start=1):
        schema.read(row, f"line {number} of {rows}")
    for each in records:
        from_row(schema.constants, each, f"the rows of {rows}")
    record = upgraded_record(path, records, _lines(new))
    return {
        KEPT[settings.get("schema")]: b"".join(whole_lines(rows)).decode(),
        PENDING[ROWS]: _lines(new),
        PENDING[FILE]: to_json(record, indent=2),
    }


def todays_mark(path: Path, mark: Mark, schema: RowSchema[Any, Any]) -> Mark | None:
    """The mark that rows of an older schema have in today's words.

    Args:
      path: The run folder; brought up to date, it keeps its old rows beside the new ones.
      mark: What something that stands on the first rows noted of them.
      schema: How the study's rows are kept.

    Returns:
      Of the same rows as they are written today; None where the folder keeps no such old rows.
    """
    for before, name in KEPT.items():
        if (path / name).is_file() and mark_of(path / name, mark.rows) == mark:
            old: Iterable[Mapping[str, Any]] = read_rows(path / name)[: mark.rows]
            rows = upgraded_rows(old) if before is None else old
            lines = _lines(numbered(rows, schema)[1]).encode().splitlines(keepends=True)
            return marks(lines)[-1]
    return None


def _lines(rows: Iterable[Mapping[str, Any]]) -> str:
    return "".join(to_json(row) + "\n" for row in rows)


def upgraded_record(path: Path, records: list[dict[str, Any]], text: str) -> dict[str, Any]:
    """``provenance.json`` of a run whose rows have become records.

    Args:
      path: The run folder, with its rows and record as they were.
      records: What stands once.
      text: The rows in today's words.

    Returns:
      What was noted, without what the records say; marks of rows that are as they were written
      become marks of the new ones, and others stay, so that they fit as little as before.
    """
    noted = read_record(path / FILE)
    once = set(itertools.chain.from_iterable(records)) | {CONTINUED}
    record = {name: value for name, value in noted.items() if name not in once}
    before, after = marks(whole_lines(path / ROWS)), marks(text.encode().splitlines(keepends=True))
    now = lambda mark: after[mark.rows] if mark in before[mark.rows : mark.rows + 1] else mark
    if len(before) == len(after):
        record[MARKS] = list(map(now, marks_of(noted)))
    return {**record, RECORDS: records}
