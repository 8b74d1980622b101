"""The study bounded as one value."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from glassesjax.runs.run import Run
from glassesjax.runs.study import CONTINUES, WRITES, Call, Options, Study, model_part
from glassesjax.studies.bounded.records import ROWS, BoundedConstants, DistanceRow, TokenRow
from glassesjax.studies.bounded.settings import BoundedSettings

if TYPE_CHECKING:
    from glassesjax.studies.bounded.run import BoundedResult
    from glassesjax.studies.bounded.summary import BoundedSummary


def _run(settings: BoundedSettings, options: Options, call: Call) -> "BoundedResult":
    from glassesjax.studies.bounded.run import run_bounded

    return run_bounded(settings, call.out, command=call.command, advance=call.advance)


def _result(run: Run[DistanceRow | TokenRow, BoundedConstants]) -> "BoundedResult":
    from glassesjax.studies.bounded.run import result

    return result(run)


def _violations(summary: "BoundedSummary") -> Sequence[str]:
    return summary.failures


STUDY = Study(
    name="bounded",
    settings=BoundedSettings,
    options=Options,
    notes=f"{WRITES} {CONTINUES}"
    " Exit status 1 says that something is measured that cannot be: see the page.",
    folder_part=lambda settings: model_part(settings.model),
    steps=lambda settings, options: settings.steps,
    run=_run,
    rows=ROWS,
    result=_result,
    violations=_violations,
)
