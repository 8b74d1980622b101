"""The bounded study as a whole run: measured into a folder, with its page, resumable."""

import functools
from collections.abc import Callable, Iterator
from pathlib import Path

from glassesjax.model.opening import open_headers
from glassesjax.report.render import plot
from glassesjax.runs.fill import Done, fill, fixed_fields
from glassesjax.runs.run import Result, Run
from glassesjax.studies.bounded.charts import Look, figures_of, kept_chart
from glassesjax.studies.bounded.measure import cells, constants, measure
from glassesjax.studies.bounded.page import bounded_page, headline, values
from glassesjax.studies.bounded.records import ROWS, BoundedConstants, DistanceRow, TokenRow
from glassesjax.studies.bounded.settings import BoundedSettings
from glassesjax.studies.bounded.summary import BoundedSummary, summarize

BoundedResult = Result[DistanceRow | TokenRow, BoundedConstants, BoundedSummary]


def run_bounded(
    settings: BoundedSettings,
    out: Path,
    *,
    command: str = "",
    advance: Callable[[str], None] = lambda name: None,
) -> BoundedResult:
    """Measures collapse and influence under bounded states, into a folder with figures and page.

    Args:
      settings: What to measure.
      out: The run folder; one that holds the same run is continued.
      command: What was called, for the record.
      advance: Takes the name of each step that was measured.

    Raises:
      BadInput: Something is wrong with the settings, the model, what it reads or the folder. What
        the settings and the model can tell is known before anything is written.
    """
    headers = list(open_headers(settings))
    read = [cell.tokens for header in headers for cell in cells(settings, *header)]
    models = [(positions, header.read()) for positions, header in headers]

    def steps(done: Done) -> Iterator[tuple[str, list[DistanceRow | TokenRow]]]:
        for positions, model in models:
            yield from measure(settings, positions, model, done)

    source = models[0][1].source
    return fill(
        out,
        fixed=fixed_fields("bounded", settings, source, repr(read).encode()),
        source=source,
        schema=ROWS,
        constants=constants(settings, models[0][1]),
        measure=steps,
        result=result,
        command=command,
        advance=advance,
    )


def result(run: Run[DistanceRow | TokenRow, BoundedConstants]) -> BoundedResult:
    """A run with its summary and figures.

    Returns:
      Its figures are those of ``figures_of``, of the kinds that were measured.
    """
    summary = summarize(run)
    look = Look(run, summary)
    figures = figures_of(look)

    def files() -> dict[str, str]:
        drawn = {name: plot(name, draw) for name, draw in figures.items() if name != "kept"}
        if "kept" in figures:
            narrow = functools.partial(kept_chart, look, narrow=True)
            drawn["kept"] = plot("kept", figures["kept"], narrow=narrow, rows=values(summary))
        page = bounded_page(run, summary, look, drawn)
        return {**{f"figures/{n}.svg": each.file for n, each in drawn.items()}, "index.html": page}

    return Result(
        run=run, summary=summary, headline=headline(summary), figures=figures, files=files
    )
