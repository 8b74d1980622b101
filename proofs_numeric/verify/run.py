"""The ledger as a whole run: measured into a folder, with its figures and its page, resumable."""

import functools
from collections.abc import Callable, Iterator
from pathlib import Path

from glassesjax.report.render import plot
from glassesjax.runs.fill import Done, fill
from glassesjax.runs.run import Result, Run
from proofs_numeric.verify import discovery
from proofs_numeric.verify.charts import ratios_chart
from proofs_numeric.verify.fingerprint import fingerprint
from proofs_numeric.verify.ladders import has_ladder, ladder_chart
from proofs_numeric.verify.measure import constants, verify
from proofs_numeric.verify.page import headline, ledger_page, values
from proofs_numeric.verify.records import CODES, ROWS, VerifyConstants, VerifyRow
from proofs_numeric.verify.settings import VerifySettings
from proofs_numeric.verify.summary import VerifySummary, by_claim, summarize

VerifyResult = Result[VerifyRow, VerifyConstants, VerifySummary]


def run_verify(
    settings: VerifySettings,
    out: Path,
    *,
    command: str = "",
    advance: Callable[[str], None] = lambda name: None,
) -> VerifyResult:
    """Measures the claims that are not measured yet, and writes rows, figures and page.

    Which claims are asked for does not fix the run: a folder may be filled claim by claim, and its
    summary and page are of all that it holds. Rows that other code made stay in the file and are
    passed over.

    Args:
      settings: Which claims, and how far.
      out: The run folder; one that holds the same run is continued.
      command: What was called, for the record.
      advance: Takes the name of each claim that was measured.

    Raises:
      BadInput: Something is wrong with the folder.
    """

    def steps(done: Done) -> Iterator[tuple[str, list[VerifyRow]]]:
        for claim, rows in verify(settings, done):
            yield claim.name, rows

    return fill(
        out,
        fixed={"study": "verify", "suite": settings.suite, "certified": settings.certified},
        source={CODES: {name: fingerprint(name) for name in discovery.modules()}},
        schema=ROWS,
        constants=constants(settings),
        measure=steps,
        result=result,
        command=command,
        advance=advance,
    )


def result(run: Run[VerifyRow, VerifyConstants]) -> VerifyResult:
    """A run with its summary and figures.

    Returns:
      Its figures are ``ratios`` and those of claims that have a ladder, by the claims' names.
    """
    summary, rows = summarize(run), by_claim(run.rows)
    claims = discovery.load(rows)
    first = functools.partial(ratios_chart, summary, rows, claims)
    ladders = {
        claim.name: functools.partial(ladder_chart, measured, claim.climbs)
        for claim in claims
        if has_ladder(measured := rows[claim.name].measured)
    }

    def files() -> dict[str, str]:
        narrow, data = functools.partial(first, narrow=True), values(rows, summary)
        figure = plot("ratios", first, narrow=narrow, rows=data)
        paths = {name: f"figures/{name}.svg" for name in ladders}
        drawn = {paths[name]: plot(name, draw).file for name, draw in ladders.items()}
        page = ledger_page(run, summary, claims, figure, paths)
        return {"figures/ratios.svg": figure.file, **drawn, "index.html": page}

    figures = {"ratios": first, **ladders}
    return Result(
        run=run, summary=summary, headline=headline(summary), figures=figures, files=files
    )
