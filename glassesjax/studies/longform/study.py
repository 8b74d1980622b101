"""The study longform as one value."""

from collections.abc import Iterable, Sequence

from glassesjax.files import Row
from glassesjax.runs.study import Call, Options, Study, model_part
from glassesjax.studies.longform.settings import LongformSettings
from glassesjax.studies.longform.verdicts import violations


def _run(settings: LongformSettings, options: Options, call: Call) -> Sequence[Row]:
    from glassesjax.studies.longform.run import run_longform

    return run_longform(settings, call.out, command=call.command, advance=call.advance)


def _lines(settings: LongformSettings, rows: Sequence[Row]) -> Iterable[str]:
    from glassesjax.studies.longform.cells import longform_headlines

    return longform_headlines(rows)


STUDY = Study(
    name="longform",
    settings=LongformSettings,
    options=Options,
    folder_part=lambda settings: model_part(settings.model),
    steps=lambda settings, options: settings.steps,
    run=_run,
    lines=_lines,
    violations=violations,
)
