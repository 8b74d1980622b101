"""The bounded study as a whole run: measured into a folder, with its page, resumable."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from glassesjax.files import Row
from glassesjax.model.opening import open_headers
from glassesjax.report.canvas import to_svg
from glassesjax.runs.fill import Done, Files, Steps, fill, fixed_fields
from glassesjax.studies.bounded.figures import collapse_bounded_figure, heard_figure
from glassesjax.studies.bounded.measure import KEY, BoundedSettings, cells, measure
from glassesjax.studies.bounded.page import bounded_page


def run_bounded(
    settings: BoundedSettings,
    out: Path,
    *,
    command: str = "",
    advance: Callable[[str], None] = lambda name: None,
) -> Sequence[Row]:
    """Measures collapse and influence under bounded states, into a folder with figures and page.

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
    read = [cell.tokens for header in headers for cell in cells(settings, *header)]
    models = [(positions, header.read()) for positions, header in headers]

    def steps(done: Done) -> Steps:
        for positions, model in models:
            yield from measure(settings, positions, model, done)

    source = models[0][1].source
    return fill(
        out,
        fixed=fixed_fields("bounded", settings, source, repr(read).encode()),
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
