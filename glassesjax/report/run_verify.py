"""The ledger as a whole run: measured into a folder, with its figures and its page, resumable."""

from collections.abc import Callable, Sequence
from pathlib import Path

from glassesjax.errors import BadInput
from glassesjax.records import (
    Row,
    RowFile,
    RunFolder,
    provenance,
    read_rows,
    to_json,
    write_by_rename,
)
from glassesjax.report.canvas import to_svg
from glassesjax.report.ledger_figures import ladder_figure
from glassesjax.report.ledger_page import ledger_page
from glassesjax.report.ledger_summary import entries
from proofs_numeric.ledger import KEY, VerifySettings, all_claims, fingerprint, verify


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
    fixed = {"study": "verify", "suite": settings.suite, "certified": settings.certified}
    record = {"command": command, "fingerprint": fingerprint(), **provenance()}
    try:
        with RunFolder(out, fixed):
            write_by_rename(out / "provenance.json", to_json(record, indent=2))
            with RowFile(out / "rows.jsonl", KEY) as file:
                for claim, rows in verify(settings, file.__contains__):
                    file.append(rows)
                    advance(claim.name)
            rows = [r for r in read_rows(out / "rows.jsonl") if r["fingerprint"] == fingerprint()]
            _draw(out, rows, fixed, record)
    except OSError as error:
        wanted = f"Wanted to write the run in {out}"
        raise BadInput(f"{wanted}; {error.filename or out}: {error.strerror}.") from error
    asked = {claim.name for claim in settings.claims}
    return [row for row in rows if row["claim"] in asked]


def _draw(out: Path, rows: Sequence[Row], settings: dict, record: dict) -> None:
    (out / "figures").mkdir(exist_ok=True)
    drawings = {}
    for entry in entries(rows, all_claims()):
        name = entry.claim.name
        if figure := ladder_figure(entry.rows, entry.claim.climbs):
            drawings[name] = to_svg(figure, name)
            write_by_rename(out / "figures" / f"{name}.svg", drawings[name])
    page = ledger_page(rows, all_claims(), settings, record, drawings=drawings)
    write_by_rename(out / "index.html", page)
