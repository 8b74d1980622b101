"""The ledger as a whole run: measured into a folder, with its figures and its page, resumable."""

import functools
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from glassesjax.report.canvas import svg_files
from glassesjax.runs.fill import Done, fill
from glassesjax.runs.run import Result, Run
from proofs_numeric.verify import discovery
from proofs_numeric.verify.figures import has_ladder, ladder_figure
from proofs_numeric.verify.fingerprint import fingerprint
from proofs_numeric.verify.measure import constants, verify
from proofs_numeric.verify.page import ledger_page
from proofs_numeric.verify.records import CODES, ROWS, VerifyConstants, VerifyRow
from proofs_numeric.verify.sentences import headline
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

    Returns:
      The run with its summary and figures.

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

    Args:
      run: Of the verb verify.

    Returns:
      Its figures are named after the claims that have a ladder.
    """
    summary, rows = summarize(run), by_claim(run.rows)
    claims = discovery.load(rows)
    figures = {
        claim.name: functools.partial(ladder_figure, measured, claim.climbs)
        for claim in claims
        if has_ladder(measured := rows[claim.name].measured)
    }

    def files() -> Mapping[str, str]:
        texts = svg_files(figures)
        drawings = {name: texts[f"figures/{name}.svg"] for name in figures}
        return {**texts, "index.html": ledger_page(run, summary, claims, drawings)}

    return Result(
        run=run, summary=summary, headline=headline(summary), figures=figures, files=files
    )
