"""A run of the ledger: opening its claims, and the result of its rows."""

import functools
from collections.abc import Iterator

from glassesjax.precision.wide import check_float64
from glassesjax.report.render import page_files, plots
from glassesjax.runs.fill import Done, Opened
from glassesjax.runs.run import Result, Run
from proofs_numeric.verify import discovery
from proofs_numeric.verify.charts import ratios_chart
from proofs_numeric.verify.fingerprint import fingerprint
from proofs_numeric.verify.ladders import has_ladder, ladder_chart
from proofs_numeric.verify.measure import constants, verify
from proofs_numeric.verify.page import headline, ledger_page, values
from proofs_numeric.verify.records import CODES, VerifyConstants, VerifyRow
from proofs_numeric.verify.settings import VerifySettings
from proofs_numeric.verify.summary import VerifySummary, by_claim, summarize

VerifyResult = Result[VerifyRow, VerifyConstants, VerifySummary]


def open_run(settings: VerifySettings) -> Opened[VerifyRow, VerifyConstants]:
    """Opens a run of the selected claims.

    The selection is not part of the run's identity: a folder may be filled claim by claim, and its
    summary and page are of all its claims. Rows of other code stay in the file and are ignored.

    Raises:
      BadInput: The backend has no float64.
    """
    check_float64("verify")

    def steps(done: Done) -> Iterator[tuple[str, list[VerifyRow]]]:
        for claim, rows in verify(settings, done):
            yield claim.name, rows

    # All claims' fingerprints, measured now or not: they say which rows of the folder count.
    return Opened(
        record={CODES: {name: fingerprint(name) for name in discovery.modules()}},
        constants=constants(settings),
        measure=steps,
    )


def result(run: Run[VerifyRow, VerifyConstants]) -> VerifyResult:
    """A run with its summary and figures.

    Returns:
      Its figures are ``ratios`` and those of claims that have a ladder, by the claims' names.
    """
    summary, rows = summarize(run), by_claim(run.rows)
    claims = discovery.load(rows)  # for titles and formulas; none is measured
    first = functools.partial(ratios_chart, summary, rows, claims)
    ladders = {
        claim.name: functools.partial(ladder_chart, measured, claim.climbs)
        for claim in claims
        if has_ladder(measured := rows[claim.name].measured)
    }

    figures = {"ratios": first, **ladders}
    paths = {name: f"figures/{name}.svg" for name in ladders}
    return Result(
        run=run,
        summary=summary,
        headline=headline(summary),
        figures=figures,
        files=lambda: page_files(  # drawn when they are written
            plots(figures, hero="ratios", rows=values(rows, summary)),
            lambda drawn: ledger_page(run, summary, claims, drawn["ratios"], paths),
        ),
    )
