"""The train study as a whole run: trained into a folder, with its page, resumable."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from glassesjax.records import Row
from glassesjax.report.canvas import to_svg
from glassesjax.report.run_study import Done, Files, Steps, fill, own_fields
from glassesjax.report.train_figures import lengths_figure, losses_figure
from glassesjax.report.train_page import train_page
from glassesjax.studies.train import KEY, measure
from glassesjax.studies.train_settings import TrainSettings


def run_train(
    settings: TrainSettings,
    out: Path,
    *,
    command: str = "",
    advance: Callable[[str], None] = lambda name: None,
) -> Sequence[Row]:
    """Trains what is not trained yet, and writes decoders, rows, figures and page.

    Args:
      settings: What to train.
      out: The run folder; one that holds the same run is continued from its newest checkpoint.
      command: What was called, for the record.
      advance: Told the name of each call of the training, and of each format that answered.

    Returns:
      All rows of the run.

    Raises:
      BadInput: Something is wrong with the settings, the folder or its checkpoint.
    """

    def steps(done: Done) -> Steps:
        yield from measure(settings, out, done)

    return fill(
        out,
        fixed={"study": "train", **own_fields(settings, TrainSettings)},
        source={"weights": "trained here"},
        key=KEY,
        measure=steps,
        draw=_draw,
        command=command,
        advance=advance,
    )


def _draw(
    rows: Sequence[Row], settings: Mapping[str, object], record: Mapping[str, object]
) -> Files:
    figures = {"lengths": lengths_figure(rows), "losses": losses_figure(rows)}
    drawn = {f"figures/{stem}.svg": to_svg(figure, stem) for stem, figure in figures.items()}
    return {**drawn, "index.html": train_page(rows, settings, record)}
