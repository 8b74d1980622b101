"""The recall study as a whole run: measured into a folder, with its page, resumable."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from glassesjax.files import Row
from glassesjax.report.canvas import to_svg
from glassesjax.runs.fill import Files, fill, fixed_fields
from glassesjax.studies.recall.figures import depth_figure, slots_figure
from glassesjax.studies.recall.measure import KEY, RecallSettings, measure, open_subject
from glassesjax.studies.recall.page import recall_page
from glassesjax.studies.recall.reading import readings_text


def run_recall(
    settings: RecallSettings,
    out: Path,
    *,
    command: str = "",
    advance: Callable[[str], None] = lambda name: None,
) -> Sequence[Row]:
    """Asks for what was read, under bounded states, into a folder with figures and page.

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
        fixed=fixed_fields("recall", settings, source, readings_text(subject.readings).encode()),
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
    figures = {"slots": slots_figure(rows), "depth": depth_figure(rows)}
    drawn = {f"figures/{stem}.svg": to_svg(figure, stem) for stem, figure in figures.items()}
    return {**drawn, "index.html": recall_page(rows, settings, record)}
