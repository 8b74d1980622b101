"""The retention study as a whole run: measured into a folder, with its page, resumable."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from glassesjax.records import Row
from glassesjax.report.canvas import to_svg
from glassesjax.report.retention_cells import read_cells
from glassesjax.report.retention_figures import (
    classes_figure,
    layers_figure,
    maps_figure,
    overview_figure,
    position_figure,
)
from glassesjax.report.retention_page import retention_page
from glassesjax.report.run_study import Files, own_fields, run_study
from glassesjax.studies.retention import KEY, RetentionSettings, measure, open_subject


def run_retention(
    settings: RetentionSettings,
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
      advance: Told the name of each policy and number of slots that was measured.

    Returns:
      All rows of the run.

    Raises:
      BadInput: Something is wrong with the settings, the model, the text or the folder. What the
        settings and the model can tell is known before anything is written.
    """
    subject = open_subject(settings)
    source = subject.model.source
    # A file of text may change between two calls.
    prompt = hashlib.sha256(repr(subject.tokens).encode()).hexdigest()
    own = own_fields(settings, RetentionSettings)
    return run_study(
        out,
        fixed={"study": "retention", **own, **source, "prompt_sha256": prompt},
        source=source,
        key=KEY,
        measure=lambda done: measure(settings, subject, done),
        draw=_draw,
        command=command,
        advance=advance,
    )


def _draw(
    rows: Sequence[Row], settings: Mapping[str, object], record: Mapping[str, object]
) -> Files:
    cells = read_cells(rows)
    shared = {"positions": position_figure, "classes": classes_figure, "layers": layers_figure}
    figures = {stem: draw(cells) for stem, draw in shared.items()}
    for cell in cells:
        stem = f"{cell.policy.replace('+', '-plus-').replace('@', '-at-')}-{cell.slots}"
        figures |= {f"map-{stem}": overview_figure(cell), f"maps-{stem}": maps_figure(cell)}
    drawn = {f"figures/{stem}.svg": to_svg(figure, stem) for stem, figure in figures.items()}
    return {**drawn, "index.html": retention_page(rows, settings, record)}
