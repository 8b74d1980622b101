"""The influence study as a whole run: measured into a folder, with its page, resumable."""

import dataclasses
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

from glassesjax.errors import BadInput
from glassesjax.records import (
    Row,
    RowFile,
    RunFolder,
    provenance,
    read_rows,
    to_json,
    write_by_rename,
)
from glassesjax.report.canvas import to_svg
from glassesjax.report.influence_figures import layers_figure, profile_figure
from glassesjax.report.influence_page import influence_page
from glassesjax.studies.influence import KEY, InfluenceSettings, measure, open_subject


def run_influence(
    settings: InfluenceSettings,
    out: Path,
    *,
    command: str = "",
    advance: Callable[[str], None] = lambda name: None,
) -> Sequence[Row]:
    """Measures what is not measured yet, and writes rows, figures and page.

    Args:
      settings: What to measure.
      out: The run folder; one that holds the same run is continued.
      command: What was called, for the record.
      advance: Told the name of each kind of attention that was measured.

    Returns:
      All rows of the run.

    Raises:
      BadInput: Something is wrong with the settings, the model, the prompt or the folder. What the
        settings and the model can tell is known before anything is written.
    """
    subject = open_subject(settings)
    source = subject.model.source
    names = [field.name for field in dataclasses.fields(InfluenceSettings)]
    asked = {name: getattr(settings, name) for name in names}
    # A file of text may change between two calls.
    prompt = hashlib.sha256(repr(subject.tokens).encode()).hexdigest()
    fixed = {"study": "influence", **asked, **source, "prompt_sha256": prompt}
    record = {"command": command, **provenance(), **source}
    try:
        with RunFolder(out, fixed):
            write_by_rename(out / "provenance.json", to_json(record, indent=2))
            with RowFile(out / "rows.jsonl", KEY) as file:
                for kind, rows in measure(settings, subject, file.__contains__):
                    file.append(rows)
                    advance(f"{kind} attention")
            rows = read_rows(out / "rows.jsonl")
            _draw(out, rows, fixed, record)
    except OSError as error:
        wanted = f"Wanted to write the run in {out}"
        raise BadInput(f"{wanted}; {error.filename or out}: {error.strerror}.") from error
    return rows


def _draw(out: Path, rows: Sequence[Row], settings: dict, record: dict) -> None:
    (out / "figures").mkdir(exist_ok=True)
    for stem, figure in (("profile", profile_figure), ("layers", layers_figure)):
        write_by_rename(out / "figures" / f"{stem}.svg", to_svg(figure(rows), stem))
    write_by_rename(out / "index.html", influence_page(rows, settings, record))
