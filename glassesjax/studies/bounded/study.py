"""The study bounded as one value."""

from collections.abc import Iterable, Sequence

from glassesjax.files import Row
from glassesjax.runs.study import CONTINUES, WRITES, Call, Options, Study, model_part
from glassesjax.studies.bounded.settings import BoundedSettings


def _run(settings: BoundedSettings, options: Options, call: Call) -> Sequence[Row]:
    from glassesjax.studies.bounded.run import run_bounded

    return run_bounded(settings, call.out, command=call.command, advance=call.advance)


def _lines(settings: BoundedSettings, rows: Sequence[Row]) -> Iterable[str]:
    from glassesjax.studies.bounded.sentences import bounded_headlines

    return bounded_headlines(rows)


def _violations(rows: Sequence[Row]) -> Sequence[str]:
    from glassesjax.studies.bounded.verdicts import violations

    return violations(rows)


STUDY = Study(
    name="bounded",
    settings=BoundedSettings,
    options=Options,
    notes=f"{WRITES} {CONTINUES}"
    " Exit status 1 says that something is measured that cannot be: see the page.",
    folder_part=lambda settings: model_part(settings.model),
    steps=lambda settings, options: settings.steps,
    run=_run,
    lines=_lines,
    violations=_violations,
)
