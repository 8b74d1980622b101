"""The retention study as a whole run: measured into a folder, with its page, resumable."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from glassesjax.files import Row
from glassesjax.report.canvas import to_svg
from glassesjax.runs.fill import Files, fill, fixed_fields
from glassesjax.studies.retention.cells import read_cells
from glassesjax.studies.retention.figures import (
    classes_figure,
    layers_figure,
    maps_figure,
    overview_figure,
    position_figure,
)
from glassesjax.studies.retention.measure import KEY, RetentionSettings, measure, open_subject
from glassesjax.studies.retention.page import retention_page


def run_retention(
    settings: RetentionSettings,
    out: Path,
    *,
    command: str = "",
    advance: Callable[[str], None] = lambda name: None,
) -> Sequence[Row]:
    """Measures which tokens a bounded cache keeps, into a folder with figures and page.

    Args:
      settings: What to measure.
      out: The run folder; one that holds the same run is continued.
      command: What was called, for the record.
      advance: Takes the name of each step that was measured.

    Returns:
      All rows of the run.

    Raises:
      BadInput: Something is wrong with the settings, the model, what it reads or the folder. What
        the settings and the model can tell is known before anything is written.
    """
    subject = open_subject(settings)
    source = subject.model.source
    return fill(
        out,
        fixed=fixed_fields("retention", settings, source, repr(subject.tokens).encode()),
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
