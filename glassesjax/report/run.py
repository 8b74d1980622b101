"""A whole run: a study measured into a folder, with its figures and its page, resumable."""

import dataclasses
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
from glassesjax.report.overview import collapse_figures
from glassesjax.report.page import collapse_page
from glassesjax.studies.collapse import KEY, CollapseSettings, lay_out, measure, open_models


def run_collapse(
    settings: CollapseSettings,
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
      advance: Told the name of each cell that was measured.

    Returns:
      All rows of the run.

    Raises:
      BadInput: Something is wrong with the settings, the model or the folder. What the settings
        and the model can tell is known before anything is written.
    """
    models = list(open_models(settings))
    lay_out(settings, models[0][1])
    source = models[0][1].source
    fixed = {"study": "collapse", **_fields(settings), **source}
    record = {"command": command, **provenance(), **source}
    try:
        with RunFolder(out, fixed):
            write_by_rename(out / "provenance.json", to_json(record, indent=2))
            with RowFile(out / "rows.jsonl", KEY) as file:
                for positions, model in models:
                    for cell, rows in measure(settings, positions, model, file.__contains__):
                        file.append(rows)
                        advance(" ".join(cell))
            rows = read_rows(out / "rows.jsonl")
            _draw(out, rows, fixed, record)
    except OSError as error:
        wanted = f"Wanted to write the run in {out}"
        raise BadInput(f"{wanted}; {error.filename or out}: {error.strerror}.") from error
    return rows


def _fields(settings: CollapseSettings) -> dict[str, object]:
    """The study's own settings; a command's further flags fix no row."""
    names = [field.name for field in dataclasses.fields(CollapseSettings)]
    return {name: getattr(settings, name) for name in names}


def _draw(out: Path, rows: Sequence[Row], settings: dict, record: dict) -> None:
    (out / "figures").mkdir(exist_ok=True)
    for stem, figure in collapse_figures(rows):
        write_by_rename(out / "figures" / f"{stem}.svg", to_svg(figure, stem))
    write_by_rename(out / "index.html", collapse_page(rows, settings, record))
