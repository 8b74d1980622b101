"""The study longform as one value."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from glassesjax.runs.run import Run
from glassesjax.runs.study import Call, Options, Study, model_part
from glassesjax.studies.longform.records import ROWS, LongformConstants, LongformRow
from glassesjax.studies.longform.settings import LongformSettings

if TYPE_CHECKING:
    from glassesjax.studies.longform.run import LongformResult
    from glassesjax.studies.longform.summary import LongformSummary


def _run(settings: LongformSettings, options: Options, call: Call) -> "LongformResult":
    from glassesjax.studies.longform.run import run_longform

    return run_longform(settings, call.out, command=call.command, advance=call.advance)


def _result(run: Run[LongformRow, LongformConstants]) -> "LongformResult":
    from glassesjax.studies.longform.run import result

    return result(run)


def _violations(summary: "LongformSummary") -> Sequence[str]:
    return summary.passes.failures


STUDY = Study(
    name="longform",
    settings=LongformSettings,
    options=Options,
    folder_part=lambda settings: model_part(settings.model),
    steps=lambda settings, options: settings.steps,
    run=_run,
    rows=ROWS,
    result=_result,
    violations=_violations,
)
