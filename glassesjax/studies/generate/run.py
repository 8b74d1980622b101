"""A run of the generate study: what it opens, the text as it comes, and its page."""

import functools
from collections.abc import Callable

from glassesjax.cache.stream import TextStream
from glassesjax.process import shown
from glassesjax.report.render import page_files, plots
from glassesjax.runs.fill import Opened
from glassesjax.runs.model_fields import model_constants
from glassesjax.runs.run import Result, Run
from glassesjax.runs.study import Call, Options
from glassesjax.studies.generate.charts import figures_of
from glassesjax.studies.generate.measure import measure, open_job
from glassesjax.studies.generate.page import generate_page, headline
from glassesjax.studies.generate.records import GenerateConstants, TokenRow
from glassesjax.studies.generate.settings import GenerateSettings
from glassesjax.studies.generate.study import STUDY
from glassesjax.studies.generate.summary import GenerateSummary, summarize
from glassesjax.studies.generate.texts import Texts

GenerateResult = Result[TokenRow, GenerateConstants, GenerateSummary]


def run(settings: GenerateSettings, options: Options, call: Call) -> GenerateResult:
    """Prints the first text as it comes; the others, written at the same time, follow it.

    With ``--json`` no text is printed.
    """
    others: dict[int, list[str]] = {}

    def show(prompt: int, piece: str) -> None:
        # Texts are written at the same time: one is shown as it comes, the others after it.
        if prompt == 0:
            print(shown(piece), end="", flush=True)
        else:
            others.setdefault(prompt, []).append(piece)

    written = call._replace(advance=lambda name: call.advance(f"written with {name}"))
    if options.json:
        return write_texts(settings, written)
    whole = write_texts(settings, written, show)
    print()
    for prompt, pieces in others.items():
        print(shown(f"\nText {prompt + 1}\n{''.join(pieces)}"))
    return whole


def write_texts(
    settings: GenerateSettings,
    call: Call,
    show: Callable[[int, str], None] = lambda prompt, piece: None,
) -> GenerateResult:
    """Generates the missing texts, and writes rows and page.

    Args:
      settings: Settings of the study.
      call: The run folder; its ``advance`` takes the name of each finished policy.
      show: Takes the prompt's number and each piece of text as it is generated; for an existing
        run, the whole texts.

    Raises:
      BadInput: Settings, model, prompts, saved state or folder are invalid. All but the folder are
        validated before anything is written.
    """
    job = open_job(settings)
    was_shown = False  # nothing is, where all rows are there

    def noting(prompt: int, piece: str) -> None:
        nonlocal was_shown
        was_shown = True
        show(prompt, piece)

    opened = Opened(
        source=job.model.source,
        read={"resume": settings.resume.read_bytes()} if settings.resume else {},
        constants=model_constants(GenerateConstants, "generate", settings, job.model),
        measure=lambda done: measure(settings, job, done, noting),
    )
    whole = STUDY.fill(settings, call, opened)
    if not was_shown:
        # The rows were there. Their texts go through a stream again, as the rows of a text that a
        # stop string ended have that string too, and it is not shown.
        texts = Texts(whole.run.rows)
        for prompt in range(texts.count):
            pieces = [row.text for row in texts(texts.policies[0], prompt).answer]
            stream = TextStream(lambda at, pieces=pieces: pieces[at].encode(), settings.stop)
            for at in range(len(pieces)):
                show(prompt, stream.push(at)[1])
            show(prompt, stream.finish()[1])
    return whole


def result(run: Run[TokenRow, GenerateConstants]) -> GenerateResult:
    """A run with its summary and the figures of ``figures_of``."""
    summary, texts = summarize(run), Texts(run.rows)
    figures = figures_of(texts, summary)
    return Result(
        run=run,
        summary=summary,
        headline=headline(summary),
        figures=figures,
        files=lambda: page_files(
            plots(figures), functools.partial(generate_page, run, summary, texts)
        ),
    )
