"""The generate study as a whole run: written into a folder, with its page."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from glassesjax.cache.stream import TextStream
from glassesjax.files import Row
from glassesjax.runs.fill import Done, Files, Steps, fill
from glassesjax.studies.generate.measure import (
    KEY,
    fixed_settings,
    measure,
    open_job,
)
from glassesjax.studies.generate.page import generate_page
from glassesjax.studies.generate.settings import GenerateSettings
from glassesjax.studies.generate.texts import Texts


def run_generate(
    settings: GenerateSettings,
    out: Path,
    *,
    command: str = "",
    advance: Callable[[str], None] = lambda name: None,
    show: Callable[[int, str], None] = lambda prompt, piece: None,
) -> Sequence[Row]:
    """Writes what is not written yet, and rows and page.

    Args:
      settings: What to write.
      out: The run folder; one that holds the same run is continued.
      command: What was called, for the record.
      advance: Told the name of each policy that has written.
      show: Told the prompt's number and each piece of text as it comes; of a run that was there
        already, the whole texts.

    Returns:
      All rows of the run.

    Raises:
      BadInput: Something is wrong with the settings, the model, the prompts, the saved state or the
        folder. All but the last is known before anything is written.
    """
    job = open_job(settings)
    source = job.model.source
    shown = False

    def told(prompt: int, piece: str) -> None:
        nonlocal shown
        shown = True
        show(prompt, piece)

    def steps(done: Done) -> Steps:
        yield from measure(settings, job, done, told)

    rows = fill(
        out,
        fixed={**fixed_settings(settings), **source},
        source=source,
        key=KEY,
        measure=steps,
        draw=_draw,
        command=command,
        advance=advance,
    )
    if not shown:
        _show_again(rows, settings.stop, show)
    return rows


def _show_again(
    rows: Sequence[Row], stops: Sequence[str], show: Callable[[int, str], None]
) -> None:
    """The texts out of their rows, up to the strings that ended them."""
    texts = Texts(rows)
    for prompt in range(texts.count):
        pieces = [row["text"] for row in texts(texts.policies[0], prompt).answer]
        stream = TextStream(lambda at, pieces=pieces: pieces[at].encode(), stops)
        for at in range(len(pieces)):
            show(prompt, stream.push(at)[1])
        show(prompt, stream.finish()[1])


def _draw(
    rows: Sequence[Row], settings: Mapping[str, object], record: Mapping[str, object]
) -> Files:
    return {"index.html": generate_page(rows, settings, record)}
