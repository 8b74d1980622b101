"""The perplexity study as a whole run: measured into a folder, with its page, resumable."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from glassesjax.records import Row
from glassesjax.report.canvas import to_svg
from glassesjax.report.perplexity_figures import positions_figure, slots_figure
from glassesjax.report.perplexity_page import perplexity_page
from glassesjax.report.run_study import Done, Files, Steps, own_fields, run_study
from glassesjax.studies.perplexity import KEY, measure
from glassesjax.studies.perplexity_settings import PerplexitySettings
from glassesjax.studies.perplexity_subject import open_subject


def run_perplexity(
    settings: PerplexitySettings,
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
      advance: Told the name of each window that was read, or stretch of a book.

    Returns:
      All rows of the run.

    Raises:
      BadInput: Something is wrong with the settings, the model, the text or the folder. What the
        settings and the model can tell is known before anything is written.
    """
    subject = open_subject(settings)
    source = subject.model.source
    # A file of text may change between two calls.
    text = hashlib.sha256(b"".join(window.tobytes() for window in subject.windows)).hexdigest()
    own = own_fields(settings, PerplexitySettings)

    def steps(done: Done) -> Steps:
        yield from measure(settings, subject, done)

    return run_study(
        out,
        fixed={"study": "perplexity", **own, **source, "tokens_sha256": text},
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
    figures = {"slots": slots_figure(rows), "positions": positions_figure(rows)}
    drawn = {f"figures/{stem}.svg": to_svg(figure, stem) for stem, figure in figures.items()}
    return {**drawn, "index.html": perplexity_page(rows, settings, record)}
