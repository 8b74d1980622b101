"""The study perplexity as one value."""

from collections.abc import Iterable, Sequence

from glassesjax.files import Row
from glassesjax.runs.study import Call, Options, Study, model_part
from glassesjax.studies.perplexity.settings import PerplexitySettings
from glassesjax.studies.perplexity.verdicts import violations


def _run(settings: PerplexitySettings, options: Options, call: Call) -> Sequence[Row]:
    from glassesjax.studies.perplexity.run import run_perplexity

    return run_perplexity(settings, call.out, command=call.command, advance=call.advance)


def _lines(settings: PerplexitySettings, rows: Sequence[Row]) -> Iterable[str]:
    from glassesjax.studies.perplexity.sentences import perplexity_headlines

    return perplexity_headlines(rows)


STUDY = Study(
    name="perplexity",
    settings=PerplexitySettings,
    options=Options,
    folder_part=lambda settings: model_part(settings.model),
    steps=lambda settings, options: settings.steps,
    run=_run,
    lines=_lines,
    violations=violations,
)
