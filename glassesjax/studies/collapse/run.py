"""The collapse study as a whole run: measured into a folder, with its page, resumable."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from glassesjax.files import Row
from glassesjax.model.opening import open_headers
from glassesjax.report.canvas import to_svg
from glassesjax.runs.fill import Done, Files, Steps, fill, fixed_fields
from glassesjax.studies.collapse.measure import KEY, CollapseSettings, lay_out, measure
from glassesjax.studies.collapse.overview import collapse_figures
from glassesjax.studies.collapse.page import collapse_page


def run_collapse(
    settings: CollapseSettings,
    out: Path,
    *,
    command: str = "",
    advance: Callable[[str], None] = lambda name: None,
) -> Sequence[Row]:
    """Measures how far apart runs of n and n + 1 tokens are, into a folder with figures and page.

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
    headers = list(open_headers(settings))
    lay_out(settings, headers[0][1])  # prompts that do not fit are found before a weight is read
    models = [(positions, header.read()) for positions, header in headers]

    def steps(done: Done) -> Steps:
        for positions, model in models:
            for cell, rows in measure(settings, positions, model, done):
                yield " ".join(cell), rows

    source = models[0][1].source
    return fill(
        out,
        fixed=fixed_fields("collapse", settings, source),
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
    figures = collapse_figures(rows)
    drawn = {f"figures/{stem}.svg": to_svg(figure, stem) for stem, figure in figures}
    return {**drawn, "index.html": collapse_page(rows, settings, record)}
