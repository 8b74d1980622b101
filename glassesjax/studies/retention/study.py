"""The study retention as one value."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from glassesjax.runs.run import Result, Run
from glassesjax.runs.study import Call, Options, Study, model_part
from glassesjax.studies.retention.records import ROWS, RetentionConstants, RetentionRow
from glassesjax.studies.retention.settings import RetentionSettings

if TYPE_CHECKING:
    from glassesjax.studies.retention.summary import RetentionSummary


def _run(
    settings: RetentionSettings, options: Options, call: Call
) -> "Result[RetentionRow, RetentionConstants, RetentionSummary]":
    from glassesjax.studies.retention.run import run_retention

    return run_retention(settings, call.out, command=call.command, advance=call.advance)


def _result(
    run: Run[RetentionRow, RetentionConstants],
) -> "Result[RetentionRow, RetentionConstants, RetentionSummary]":
    from glassesjax.studies.retention.run import result

    return result(run)


def _violations(summary: "RetentionSummary") -> Sequence[str]:
    return summary.passes.failures


STUDY = Study(
    name="retention",
    settings=RetentionSettings,
    options=Options,
    folder_part=lambda settings: model_part(settings.model),
    steps=lambda settings, options: len(settings.policies) * len(settings.slots),
    run=_run,
    rows=ROWS,
    result=_result,
    violations=_violations,
)
