"""The study perplexity as one value."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from glassesjax.runs.run import Result, Run
from glassesjax.runs.study import Call, Options, Study, model_part
from glassesjax.studies.perplexity.records import ROWS, PerplexityConstants, PerplexityRow
from glassesjax.studies.perplexity.settings import PerplexitySettings

if TYPE_CHECKING:
    from glassesjax.studies.perplexity.summary import PerplexitySummary


def _run(
    settings: PerplexitySettings, options: Options, call: Call
) -> "Result[PerplexityRow, PerplexityConstants, PerplexitySummary]":
    from glassesjax.studies.perplexity.run import run_perplexity

    return run_perplexity(settings, call.out, command=call.command, advance=call.advance)


def _result(
    run: Run[PerplexityRow, PerplexityConstants],
) -> "Result[PerplexityRow, PerplexityConstants, PerplexitySummary]":
    from glassesjax.studies.perplexity.run import result

    return result(run)


def _violations(summary: "PerplexitySummary") -> Sequence[str]:
    return summary.passes.failures


STUDY = Study(
    name="perplexity",
    settings=PerplexitySettings,
    options=Options,
    folder_part=lambda settings: model_part(settings.model),
    steps=lambda settings, options: settings.steps,
    run=_run,
    rows=ROWS,
    result=_result,
    violations=_violations,
)
