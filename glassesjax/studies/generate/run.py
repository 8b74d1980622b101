"""The generate study as a whole run: written into a folder, with its page."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from glassesjax.cache.stream import TextStream
from glassesjax.runs.fill import Done, fill
from glassesjax.runs.run import Result, Run
from glassesjax.studies.generate.measure import constants, fixed_settings, measure, open_job
from glassesjax.studies.generate.page import generate_page, headline
from glassesjax.studies.generate.records import ROWS, GenerateConstants, TokenRow
from glassesjax.studies.generate.settings import GenerateSettings
from glassesjax.studies.generate.summary import GenerateSummary, summarize
from glassesjax.studies.generate.texts import Texts

GenerateResult = Result[TokenRow, GenerateConstants, GenerateSummary]


def run_generate(
    settings: GenerateSettings,
    out: Path,
    *,
    command: str = "",
    advance: Callable[[str], None] = lambda name: None,
    show: Callable[[int, str], None] = lambda prompt, piece: None,
) -> GenerateResult:
    """Writes what is not written yet, and rows and page.

    Args:
      settings: What to write.
      out: The run folder; one that holds the same run is continued.
      command: What was called, for the record.
      advance: Told the name of each policy that has written.
      show: Told the prompt's number and each piece of text as it comes; of a run that was there
        already, the whole texts.

    Raises:
      BadInput: Something is wrong with the settings, the model, the prompts, the saved state or the
        folder. All but the last is known before anything is written.
    """
    job = open_job(settings)
    source = job.model.source
    shown = False

    def noting(prompt: int, piece: str) -> None:
        nonlocal shown
        shown = True
        show(prompt, piece)

    def steps(done: Done) -> Iterator[tuple[str, list[TokenRow]]]:
        yield from measure(settings, job, done, noting)

    whole = fill(
        out,
        fixed={**fixed_settings(settings), **source},
        source=source,
        schema=ROWS,
        constants=constants(settings, job),
        measure=steps,
        result=result,
        command=command,
        advance=advance,
    )
    if not shown:
        _show_again(whole.run.rows, settings.stop, show)
    return whole


def result(run: Run[TokenRow, GenerateConstants]) -> GenerateResult:
    """A run with its summary; it has no figures."""
    summary = summarize(run)
    return Result(
        run=run,
        summary=summary,
        headline=headline(summary),
        figures={},
        files=lambda: {"index.html": generate_page(run, summary)},
    )


def _show_again(
    rows: Sequence[TokenRow], stops: Sequence[str], show: Callable[[int, str], None]
) -> None:
    """The texts out of their rows, up to the strings that ended them."""
    texts = Texts(rows)
    for prompt in range(texts.count):
        pieces = [row.text for row in texts(texts.policies[0], prompt).answer]
        stream = TextStream(lambda at, pieces=pieces: pieces[at].encode(), stops)
        for at in range(len(pieces)):
            show(prompt, stream.push(at)[1])
        show(prompt, stream.finish()[1])
