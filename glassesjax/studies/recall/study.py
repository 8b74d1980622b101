"""The study recall as one value."""

from collections.abc import Iterable, Sequence

from glassesjax.files import Row
from glassesjax.runs.study import CONTINUES, WRITES, Call, Options, Study, model_part
from glassesjax.studies.recall.settings import RecallSettings
from glassesjax.studies.recall.verdicts import violations


def _run(settings: RecallSettings, options: Options, call: Call) -> Sequence[Row]:
    from glassesjax.studies.recall.run import run_recall

    return run_recall(settings, call.out, command=call.command, advance=call.advance)


def _lines(settings: RecallSettings, rows: Sequence[Row]) -> Iterable[str]:
    from glassesjax.studies.recall.sentences import recall_headlines

    return recall_headlines(rows)


STUDY = Study(
    name="recall",
    settings=RecallSettings,
    options=Options,
    notes=f"{WRITES} {CONTINUES} Needs the King James Bible.",
    folder_part=lambda settings: model_part(settings.model),
    steps=lambda settings, options: settings.steps,
    run=_run,
    lines=_lines,
    violations=violations,
)
