"""The ledger as a whole run: measured into a folder, with its figures and its page, resumable."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from glassesjax.files import Row
from glassesjax.report.canvas import to_svg
from glassesjax.runs.fill import Done, Files, Steps, fill
from proofs_numeric.verify import discovery
from proofs_numeric.verify.figures import ladder_figure
from proofs_numeric.verify.fingerprint import fingerprint
from proofs_numeric.verify.measure import KEY, verify
from proofs_numeric.verify.page import ledger_page
from proofs_numeric.verify.settings import VerifySettings
from proofs_numeric.verify.summary import entries


def run_verify(
    settings: VerifySettings,
    out: Path,
    *,
    command: str = "",
    advance: Callable[[str], None] = lambda name: None,
) -> Sequence[Row]:
    """Measures the claims that are not measured yet, and writes rows, figures and page.

    Which claims are asked for does not fix the run: a folder may be filled claim by claim, and its
    page shows all that it holds. Rows that other code made stay in the file and are passed over.

    Args:
      settings: Which claims, and how far.
      out: The run folder; one that holds the same run is continued.
      command: What was called, for the record.
      advance: Told the name of each claim that was measured.

    Returns:
      The rows of the claims that were asked for, by this code.

    Raises:
      BadInput: Something is wrong with the folder.
    """

    def steps(done: Done) -> Steps:
        for claim, rows in verify(settings, done):
            yield claim.name, rows

    rows = fill(
        out,
        fixed={"study": "verify", "suite": settings.suite, "certified": settings.certified},
        source={"fingerprint": fingerprint(*discovery.modules())},
        key=KEY,
        measure=steps,
        draw=_draw,
        command=command,
        advance=advance,
        current=_is_current,
    )
    return [row for row in rows if row["claim"] in settings.names]


def _is_current(row: Row) -> bool:
    """Whether a row is of a claim of today, and made by its code of today."""
    name = str(row["claim"])
    return name in discovery.modules() and row["fingerprint"] == fingerprint(name)


def _draw(
    rows: Sequence[Row], settings: Mapping[str, object], record: Mapping[str, object]
) -> Files:
    present, names = {row["claim"] for row in rows}, discovery.modules()
    claims = discovery.load(name for name in names if name in present)
    drawings = {}
    for entry in entries(rows, claims):
        name = entry.claim.name
        if figure := ladder_figure(entry.rows, entry.claim.climbs):
            drawings[name] = to_svg(figure, name)
    files = {f"figures/{name}.svg": svg for name, svg in drawings.items()}
    page = ledger_page(rows, claims, settings, record, drawings=drawings, total=len(names))
    return {**files, "index.html": page}
