"""The recall study as a whole run: measured into a folder, with its page, resumable."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from glassesjax.records import Row
from glassesjax.report.canvas import to_svg
from glassesjax.report.recall_figures import depth_figure, slots_figure
from glassesjax.report.recall_page import recall_page
from glassesjax.report.run_study import Done, Files, Steps, own_fields, run_study
from glassesjax.studies.recall import KEY, RecallSettings, measure, open_subject


def run_recall(
    settings: RecallSettings,
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
      advance: Told the name of each passage and policy that was measured.

    Returns:
      All rows of the run.

    Raises:
      BadInput: Something is wrong with the settings, the model, the Bible or the folder. What the
        settings and the model can tell is known before anything is written.
    """
    subject = open_subject(settings)
    source = subject.model.source
    own = own_fields(settings, RecallSettings)
    read = [(one.tokens, one.asked) for one in subject.readings]
    told = hashlib.sha256(repr(read).encode()).hexdigest()

    def steps(done: Done) -> Steps:
        yield from measure(settings, subject, done)

    return run_study(
        out,
        fixed={"study": "recall", **own, **source, "tokens_sha256": told},
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
    figures = {"slots": slots_figure(rows), "depth": depth_figure(rows)}
    drawn = {f"figures/{stem}.svg": to_svg(figure, stem) for stem, figure in figures.items()}
    return {**drawn, "index.html": recall_page(rows, settings, record)}
