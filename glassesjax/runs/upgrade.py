"""Conversion of older run folders to today's schema.

The field ``schema`` of a file is the version of its names; files from before schema 1 have none.
Each change of a name's meaning is listed here, so that older rows are read and continued with the
meaning they had.
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
from glassesjax.schema import SCHEMA, renamed_policy, renamed_settings

# Upgraded rows and record, until ``settings.json`` is replaced.
PENDING = {ROWS: ".rows.jsonl.upgraded", FILE: ".provenance.json.upgraded"}
# Backup of the rows of an older schema, by that schema.
KEPT = {None: "rows.schema-0.jsonl", SCHEMA: "rows.schema-1.jsonl"}

# Before schema 1, no text meant the King James Bible, for models that read text.
_READ_KJV = ("perplexity", "retention", "bounded")
# Before schema 1, generation ended at one end token, also of models with several.
_WRITES = ("generate", "longform", "recall")
# Studies some of whose rows from before schema 1 lack fields or have another meaning; these have no
# ``finite``, and their cells are measured again.
_MEASURED_AGAIN = ("collapse", "bounded")
# Settings that later versions added, by study, with the value that has the meaning of before.
_PROMPTED = ("influence", "bounded", "generate", "longform")
_MEASURES_MODEL = (*_PROMPTED, "collapse", "perplexity", "recall", "retention")
_ADDED: Mapping[object, Mapping[str, Any]] = {
    study: {"devices": 1} | ({"prompt_tokens": []} if study in _PROMPTED else {})
    for study in _MEASURES_MODEL
}
_DECAY = "weight_decay_on"  # all weights decayed before this setting existed


def upgraded_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings converted to schema 1.

    Args:
      settings: As ``settings.json`` has them.

    Returns:
      Under the names of today, with ``schema``; the meaning is unchanged if they had one.
    """
    settings = {**_ADDED.get(settings.get("study"), {}), **renamed_settings(settings)}
    if settings.get("study") == "perplexity" and isinstance(settings.get("format"), str):
        settings["formats"] = [settings.pop("format")]  # it had one
    if "schema" in settings:
        return settings
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
    """Reason why settings from before schema 1 have no equivalent today.

    Args:
      settings: As ``settings.json`` has them.

    Returns:
      The reason, for an error message; None where there is an equivalent, or with a schema.
    """
    study, axes = settings.get("study"), settings.get("axes")
    if "schema" in settings:
        return None
    if study == "influence":
        return "one of influence whose rows do not name their text"
    if study in _WRITES and _reads_text(settings):
        return f"one of {study} whose texts end at one token only"
    training = axes if study == "sweep" and isinstance(axes, dict) else settings
    several = lambda name: value if isinstance(value := training.get(name), list) else [value]
    # Numbers of heads other than powers of two had other slopes, which no setting has today.
    odd = [heads for heads in several("heads") if isinstance(heads, int) and heads & (heads - 1)]
    if study in ("train", "sweep") and odd and "alibi" in several("positions"):
        return f"one of {study} whose ALiBi slopes for {odd[0]} heads were a geometric ladder"
    return None


def _reads_text(settings: Mapping[str, Any]) -> bool:
    """Whether a run's model has a text tokenizer, judged by its name."""
    model = str(settings.get("model"))
    return model == "smollm2" or model.endswith(".gguf")


def upgraded_rows(
    rows: Iterable[Mapping[str, Any]], study: object = None
) -> Iterator[dict[str, Any]]:
    """Rows from before schema 1 with today's policy names.

    Args:
      rows: Each with or without a ``policy``.
      study: Verb of the study.

    Yields:
      The rows with the policy renamed, without those that must be measured again since their
      meaning has changed.
    """
    for row in rows:
        if study in _MEASURED_AGAIN and "finite" not in row:
            continue
        policy = row.get("policy")
        yield {**row, "policy": renamed_policy(policy)} if isinstance(policy, str) else dict(row)


def numbered(
    rows: Iterable[Mapping[str, Any]], schema: RowSchema[Any, Any]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Splits rows of schema 1 into records of constants and rows.

    Returns:
      The distinct records, and the rows, each with the index of its record.
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
    """Upgrades rows, record and settings of a folder; safe if the process is killed meanwhile.

    The new files are written beside the old ones and replace them after the settings.

    Args:
      path: The run folder, locked.
      text: Its settings as they are written today.
      schema: Schema of the study's rows, where they are records.
    """
    settings = json_object(read_file(path / "settings.json", "settings", most=MOST_SETTINGS))
    if settings.get("schema") != json.loads(text).get("schema"):
        if (path / ROWS).is_file():
            old: Iterable[Mapping[str, Any]] = read_rows(path / ROWS)
            if "schema" not in settings:
                old = upgraded_rows(old, settings.get("study"))
            if schema is None:
                new = {PENDING[ROWS]: _lines(old)}
            else:
                records, rows = numbered(old, schema)
                # Only rows that today's code can read are written.
                for number, row in enumerate(rows, start=1):
                    schema.read(row, f"line {number} of {path / ROWS}")
                for each in records:
                    from_row(schema.constants, each, f"the rows of {path / ROWS}")
                record = upgraded_record(path, records, _lines(rows))
                new = {
                    KEPT[settings.get("schema")]: b"".join(whole_lines(path / ROWS)).decode(),
                    PENDING[ROWS]: _lines(rows),
                    PENDING[FILE]: to_json(record, indent=2),
                }
            for name, content in new.items():
                write_by_rename(path / name, content)
        # From here on the folder is upgraded: a killed process is completed by the loop below.
        write_by_rename(path / "settings.json", text)
    for name, pending in PENDING.items():
        if (path / pending).is_file():
            (path / pending).replace(path / name)


def todays_mark(path: Path, mark: Mark, schema: RowSchema[Any, Any]) -> Mark | None:
    """The mark of upgraded rows, from the mark of the same rows in an older schema.

    Args:
      path: The upgraded run folder, with a backup of its old rows.
      mark: Mark of the first rows, as noted in a dependent file such as a checkpoint.
      schema: Schema of the study's rows.

    Returns:
      The mark of the same rows as written today; None where the folder has no such backup.
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
    """``provenance.json`` of a run with upgraded rows.

    Args:
      path: The run folder, with its old rows and record.
      records: The records of constants.
      text: The upgraded rows.

    Returns:
      The old content without the fields of the records; marks of intact rows become marks of the
      new ones, and marks of modified rows stay, so that they still do not fit.
    """
    noted = read_record(path / FILE)
    once = set(itertools.chain.from_iterable(records)) | {CONTINUED}
    record = {name: value for name, value in noted.items() if name not in once}
    before, after = marks(whole_lines(path / ROWS)), marks(text.encode().splitlines(keepends=True))
    now = lambda mark: after[mark.rows] if mark in before[mark.rows : mark.rows + 1] else mark
    if len(before) == len(after):
        record[MARKS] = list(map(now, marks_of(noted)))
    return {**record, RECORDS: records}
