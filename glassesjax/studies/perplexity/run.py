"""The perplexity study as a whole run: measured into a folder, with its page, resumable."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from glassesjax.files import Row
from glassesjax.report.canvas import to_svg
from glassesjax.runs.fill import Files, fill, fixed_fields
from glassesjax.studies.perplexity.figures import positions_figure, slots_figure
from glassesjax.studies.perplexity.measure import KEY, measure
from glassesjax.studies.perplexity.page import perplexity_page
from glassesjax.studies.perplexity.settings import PerplexitySettings
from glassesjax.studies.perplexity.subject import open_subject


def run_perplexity(
    settings: PerplexitySettings,
    out: Path,
    *,
    command: str = "",
    advance: Callable[[str], None] = lambda name: None,
) -> Sequence[Row]:
    """Measures the perplexity of a text under bounded states, into a folder with figures and page.

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
    source, read = subject.model.source, b"".join(window.tobytes() for window in subject.windows)
    return fill(
        out,
        fixed=fixed_fields("perplexity", settings, source, read),
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
    figures = {"slots": slots_figure(rows), "positions": positions_figure(rows)}
    drawn = {f"figures/{stem}.svg": to_svg(figure, stem) for stem, figure in figures.items()}
    return {**drawn, "index.html": perplexity_page(rows, settings, record)}
