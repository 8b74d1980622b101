"""The study recall as one value."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from glassesjax.runs.run import Run
from glassesjax.runs.study import CONTINUES, WRITES, Call, Options, Study, model_part
from glassesjax.studies.recall.records import ROWS, RecallConstants, RecallRow
from glassesjax.studies.recall.settings import RecallSettings

if TYPE_CHECKING:
    from glassesjax.studies.recall.run import RecallResult
    from glassesjax.studies.recall.summary import RecallSummary


def _run(settings: RecallSettings, options: Options, call: Call) -> "RecallResult":
    from glassesjax.studies.recall.run import run_recall

    return run_recall(settings, call.out, command=call.command, advance=call.advance)


def _result(run: Run[RecallRow, RecallConstants]) -> "RecallResult":
    from glassesjax.studies.recall.run import result

    return result(run)


def _violations(summary: "RecallSummary") -> Sequence[str]:
    return summary.passes.failures


STUDY = Study(
    name="recall",
    settings=RecallSettings,
    options=Options,
    notes=f"{WRITES} {CONTINUES} Needs the King James Bible.",
    folder_part=lambda settings: model_part(settings.model),
    steps=lambda settings, options: settings.steps,
    run=_run,
    rows=ROWS,
    result=_result,
    violations=_violations,
)
