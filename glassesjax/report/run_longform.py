"""The longform study as a whole run: written into a folder, with its page, resumable."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from glassesjax.records import Row
from glassesjax.report.canvas import to_svg
from glassesjax.report.longform_page import longform_figure, longform_page
from glassesjax.report.run_study import Done, Files, Steps, own_fields, run_study
from glassesjax.studies.longform import KEY, LongformSettings, measure, open_subject


def run_longform(
    settings: LongformSettings,
    out: Path,
    *,
    command: str = "",
    advance: Callable[[str], None] = lambda name: None,
) -> Sequence[Row]:
    """Writes what is not written yet, and rows, figures and page.

    Args:
      settings: What to write.
      out: The run folder; one that holds the same run is continued.
      command: What was called, for the record.
      advance: Told the name of each policy and size whose texts were written.

    Returns:
      All rows of the run.

    Raises:
      BadInput: Something is wrong with the settings, the model or the folder. What the settings
        and the model can tell is known before anything is written.
    """
    subject = open_subject(settings)
    source = subject.model.source
    own = own_fields(settings, LongformSettings)

    def steps(done: Done) -> Steps:
        yield from measure(settings, subject, done)

    return run_study(
        out,
        fixed={"study": "longform", **own, **source},
        source=source,
        key=KEY,
        measure=steps,
        draw=_draw,
        command=command,
        advance=advance,
    )


def _draw(
    rows: Sequence[Row], settings: Mapping[str, object], record: Mapping[str, object]
) -> Files:
    figure = to_svg(longform_figure(rows), "texts")
    return {"figures/texts.svg": figure, "index.html": longform_page(rows, settings, record)}
