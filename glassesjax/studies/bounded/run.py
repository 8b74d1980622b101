"""A run of the bounded study: opening of its inputs, and the result of its rows."""

import dataclasses
import functools
from collections.abc import Iterator

import numpy as np

from glassesjax.model.opening import open_headers
from glassesjax.model.tiling import TILING
from glassesjax.precision.arithmetic import passes_error
from glassesjax.report.render import page_files, plots
from glassesjax.runs.fill import Done, Opened
from glassesjax.runs.model_fields import model_constants
from glassesjax.runs.run import Result, Run
from glassesjax.studies.bounded.charts import Look, figures_of
from glassesjax.studies.bounded.measure import CHUNK, cells, measure
from glassesjax.studies.bounded.page import bounded_page, headline, values
from glassesjax.studies.bounded.records import BoundedConstants, DistanceRow, TokenRow
from glassesjax.studies.bounded.settings import BoundedSettings
from glassesjax.studies.bounded.summary import BoundedSummary, summarize
from glassesjax.trace.roundoff import layer_terms
from glassesjax.trace.sizes import note_exact

BoundedResult = Result[DistanceRow | TokenRow, BoundedConstants, BoundedSummary]


def open_run(settings: BoundedSettings) -> Opened[DistanceRow | TokenRow, BoundedConstants]:
    """Models by positional encoding; each of their cells is measured."""
    headers = list(open_headers(settings))
    # Before any weights are read: a setting that does not fit a model fails at once.
    resolved = [cells(settings, *header) for header in headers]
    read = [cell.tokens for of_model in resolved for cell in of_model]
    # Encodings differ in no size.
    derived = [len(each.tokens) for some in resolved for each in some if each.kind == "influence"]
    if settings.method == "exact" and derived:
        itemsize = np.dtype(settings.plan.dtype).itemsize
        note_exact(headers[0][1].config, derived, settings.probes, itemsize, spectral=1)
    models = [(positions, header.read()) for positions, header in headers]

    def steps(done: Done) -> Iterator[tuple[str, list[DistanceRow | TokenRow]]]:
        for positions, model in models:
            yield from measure(settings, positions, model, done)

    model = models[0][1]
    constants = model_constants(
        BoundedConstants,
        "bounded",
        settings,
        model,
        layer_terms=layer_terms(model.config),
        unit_roundoff=passes_error(settings.plan),
        probes=settings.probes if settings.method == "estimated" else None,
        tiling=str(dataclasses.replace(TILING, prefill_chunk=CHUNK)),
    )
    return Opened(
        source=model.source,
        read={"read": repr(read).encode()},
        constants=constants,
        measure=steps,
    )


def result(run: Run[DistanceRow | TokenRow, BoundedConstants]) -> BoundedResult:
    """A run with its summary and figures.

    Returns:
      Its figures are those of ``figures_of``, of the kinds that were measured.
    """
    summary = summarize(run)
    look = Look(run, summary)
    figures = figures_of(look)
    return Result(
        run=run,
        summary=summary,
        headline=headline(summary),
        figures=figures,
        files=lambda: page_files(
            plots(figures, hero="kept", rows=values(summary)),
            functools.partial(bounded_page, run, summary, look),
        ),
    )
