"""The study retention as one value."""

from collections.abc import Iterable, Sequence

from glassesjax.files import Row
from glassesjax.runs.study import Call, Options, Study, model_part
from glassesjax.studies.retention.settings import RetentionSettings
from glassesjax.studies.retention.verdicts import violations


def _run(settings: RetentionSettings, options: Options, call: Call) -> Sequence[Row]:
    from glassesjax.studies.retention.run import run_retention

    return run_retention(settings, call.out, command=call.command, advance=call.advance)


def _lines(settings: RetentionSettings, rows: Sequence[Row]) -> Iterable[str]:
    from glassesjax.studies.retention.sentences import retention_headlines

    return retention_headlines(rows)


STUDY = Study(
    name="retention",
    settings=RetentionSettings,
    options=Options,
    folder_part=lambda settings: model_part(settings.model),
    steps=lambda settings, options: len(settings.policies) * len(settings.slots),
    run=_run,
    lines=_lines,
    violations=violations,
)
