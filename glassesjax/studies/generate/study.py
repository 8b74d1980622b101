"""The study generate as one value."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from glassesjax.process import shown
from glassesjax.runs.run import Run
from glassesjax.runs.study import Call, Options, Study, model_part
from glassesjax.studies.generate.records import ROWS, GenerateConstants, TokenRow
from glassesjax.studies.generate.settings import FIX_NOTHING, GenerateSettings

if TYPE_CHECKING:
    from glassesjax.studies.generate.run import GenerateResult
    from glassesjax.studies.generate.summary import GenerateSummary


def _run(settings: GenerateSettings, options: Options, call: Call) -> "GenerateResult":
    """Prints the first text as it comes; the others, written at the same time, follow it.

    Where the summary is to stand alone on standard output, no text is printed.
    """
    from glassesjax.studies.generate.run import run_generate

    others: dict[int, list[str]] = {}

    def show(prompt: int, piece: str) -> None:
        if prompt == 0:
            print(shown(piece), end="", flush=True)
        else:
            others.setdefault(prompt, []).append(piece)

    written = lambda name: call.advance(f"written with {name}")
    if options.json:
        return run_generate(settings, call.out, command=call.command, advance=written)
    whole = run_generate(settings, call.out, command=call.command, advance=written, show=show)
    print()
    for prompt, pieces in others.items():
        print(shown(f"\nText {prompt + 1}\n{''.join(pieces)}"))
    return whole


def _result(run: Run[TokenRow, GenerateConstants]) -> "GenerateResult":
    from glassesjax.studies.generate.run import result

    return result(run)


def _violations(summary: "GenerateSummary") -> Sequence[str]:
    return summary.passes.failures


STUDY = Study(
    name="generate",
    settings=GenerateSettings,
    options=Options,
    notes="Prints the text as it comes, and writes a run folder with settings.json,"
    " provenance.json, rows.jsonl, summary.json and index.html. A run that was stopped starts again"
    " with the same command.",
    fix_nothing=FIX_NOTHING,
    folder_part=lambda settings: model_part(settings.model),
    run=_run,
    rows=ROWS,
    result=_result,
    violations=_violations,
)
