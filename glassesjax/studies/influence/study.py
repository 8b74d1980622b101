"""The study influence as one value."""

from collections.abc import Iterable, Sequence

from glassesjax.files import Row
from glassesjax.runs.study import CONTINUES, WRITES, Call, Options, Study, model_part
from glassesjax.studies.influence.settings import InfluenceSettings


def _run(settings: InfluenceSettings, options: Options, call: Call) -> Sequence[Row]:
    from glassesjax.studies.influence.run import run_influence

    return run_influence(settings, call.out, command=call.command, advance=call.advance)


def _lines(settings: InfluenceSettings, rows: Sequence[Row]) -> Iterable[str]:
    from glassesjax.studies.influence.sentences import influence_headlines

    return influence_headlines(rows)


def _violations(rows: Sequence[Row]) -> Sequence[str]:
    from glassesjax.studies.influence.verdicts import violations

    return violations(rows)


def _steps(settings: InfluenceSettings, options: Options) -> int:
    texts = 1 if settings.prompt else settings.passages * max(len(settings.text), 1)
    return 1 + len(settings.attention) * texts  # the bounds; a short text has fewer passages


STUDY = Study(
    name="influence",
    settings=InfluenceSettings,
    options=Options,
    notes=f"{WRITES} {CONTINUES}"
    " Exit status 1 says that a bound is exceeded that must hold: the repaired one, or the"
    " printed one with attention held fixed; or that a pass is not finite.",
    folder_part=lambda settings: model_part(settings.model),
    steps=_steps,
    run=_run,
    lines=_lines,
    violations=_violations,
)
