"""The study collapse as one value."""

from collections.abc import Iterable, Sequence

from glassesjax.files import Row
from glassesjax.runs.study import Call, Options, Study, model_part
from glassesjax.studies.collapse.settings import CollapseSettings
from glassesjax.studies.collapse.verdicts import violations


def _run(settings: CollapseSettings, options: Options, call: Call) -> Sequence[Row]:
    from glassesjax.studies.collapse.run import run_collapse

    return run_collapse(settings, call.out, command=call.command, advance=call.advance)


def _lines(settings: CollapseSettings, rows: Sequence[Row]) -> Iterable[str]:
    from glassesjax.studies.collapse.sentences import headlines

    return headlines(rows)


STUDY = Study(
    name="collapse",
    settings=CollapseSettings,
    options=Options,
    folder_part=lambda settings: model_part(settings.model),
    steps=lambda settings, options: (
        len(settings.encodings) * len(settings.formats) * len(settings.families)
    ),
    run=_run,
    lines=_lines,
    violations=violations,
)
