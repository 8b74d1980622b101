"""The bounded study as a whole run: measured into a folder, with its page, resumable."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from glassesjax.records import Row
from glassesjax.report.bounded_figures import collapse_bounded_figure, heard_figure
from glassesjax.report.bounded_page import bounded_page
from glassesjax.report.canvas import to_svg
from glassesjax.report.run_study import Done, Files, Steps, own_fields, run_study
from glassesjax.studies.bounded import KEY, BoundedSettings, cells, measure, open_models


def run_bounded(
    settings: BoundedSettings,
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
      BadInput: Something is wrong with the settings, the model, the text or the folder. What the
        settings and the model can tell is known before anything is written.
    """
    models = list(open_models(settings))
    prompts = [
        cell.tokens for positions, model in models for cell in cells(settings, positions, model)
    ]
    source = models[0][1].source
    # A file of text may change between two calls.
    told = hashlib.sha256(repr(prompts).encode()).hexdigest()

    def steps(done: Done) -> Steps:
        for positions, model in models:
            yield from measure(settings, positions, model, done)

    own = own_fields(settings, BoundedSettings)
    return run_study(
        out,
        fixed={"study": "bounded", **own, **source, "prompts_sha256": told},
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
    made = {"collapse": collapse_bounded_figure, "influence": heard_figure}
    kinds = {str(row["kind"]) for row in rows}
    figures = {kind: figure(rows) for kind, figure in made.items() if kind in kinds}
    drawn = {f"figures/{stem}.svg": to_svg(figure, stem) for stem, figure in figures.items()}
    return {**drawn, "index.html": bounded_page(rows, settings, record)}
