"""The collapse study as a whole run: measured into a folder, with its page, resumable."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from glassesjax.records import Row
from glassesjax.report.canvas import to_svg
from glassesjax.report.overview import collapse_figures
from glassesjax.report.page import collapse_page
from glassesjax.report.run_study import Done, Files, Steps, own_fields, run_study
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

    def steps(done: Done) -> Steps:
        for positions, model in models:
            for cell, rows in measure(settings, positions, model, done):
                yield " ".join(cell), rows

    return run_study(
        out,
        fixed={"study": "collapse", **own_fields(settings, CollapseSettings), **source},
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
