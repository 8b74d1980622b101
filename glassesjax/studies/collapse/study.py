"""The study collapse as one value."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from glassesjax.runs.constants import ModelConstants
from glassesjax.runs.run import Result, Run
from glassesjax.runs.study import Call, Options, Study, model_part
from glassesjax.studies.collapse.records import ROWS, CollapseRow
from glassesjax.studies.collapse.settings import CollapseSettings

if TYPE_CHECKING:
    from glassesjax.studies.collapse.summary import CollapseSummary


def _run(
    settings: CollapseSettings, options: Options, call: Call
) -> "Result[CollapseRow, ModelConstants, CollapseSummary]":
    from glassesjax.studies.collapse.run import run_collapse

    return run_collapse(settings, call.out, command=call.command, advance=call.advance)


def _result(
    run: Run[CollapseRow, ModelConstants],
) -> "Result[CollapseRow, ModelConstants, CollapseSummary]":
    from glassesjax.studies.collapse.run import result

    return result(run)


def _violations(summary: "CollapseSummary") -> Sequence[str]:
    return summary.passes.failures


STUDY = Study(
    name="collapse",
    settings=CollapseSettings,
    options=Options,
    folder_part=lambda settings: model_part(settings.model),
    steps=lambda settings, options: (
        len(settings.encodings) * len(settings.formats) * len(settings.families)
    ),
    run=_run,
    rows=ROWS,
    result=_result,
    violations=_violations,
)
