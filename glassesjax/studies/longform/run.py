"""The longform study as a whole run: written into a folder, with its page, resumable."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from glassesjax.files import Row
from glassesjax.report.canvas import to_svg
from glassesjax.runs.fill import Files, fill, fixed_fields
from glassesjax.studies.longform.measure import KEY, LongformSettings, measure, open_subject
from glassesjax.studies.longform.page import longform_figure, longform_page


def run_longform(
    settings: LongformSettings,
    out: Path,
    *,
    command: str = "",
    advance: Callable[[str], None] = lambda name: None,
) -> Sequence[Row]:
    """Writes long texts from bounded states, into a folder with figures and page.

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
        fixed=fixed_fields("longform", settings, source),
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
    figure = to_svg(longform_figure(rows), "texts")
    return {"figures/texts.svg": figure, "index.html": longform_page(rows, settings, record)}
