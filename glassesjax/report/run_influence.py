"""The influence study as a whole run: measured into a folder, with its page, resumable."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from glassesjax.records import Row
from glassesjax.report.canvas import to_svg
from glassesjax.report.influence_figures import layers_figure, profile_figure
from glassesjax.report.influence_page import influence_page
from glassesjax.report.run_study import Done, Files, Steps, own_fields, run_study
from glassesjax.studies.influence import KEY, InfluenceSettings, measure, open_subject


def run_influence(
    settings: InfluenceSettings,
    out: Path,
    *,
    command: str = "",
    advance: Callable[[str], None] = lambda name: None,
) -> Sequence[Row]:
    """Measures what is not measured yet, and writes rows, figures and page.

    Args:
      settings: What to measure.
      out: The run folder; one that holds the same run is continued.
      command: What was called, for the record.
      advance: Told the name of each kind of attention that was measured.

    Returns:
      All rows of the run.

    Raises:
      BadInput: Something is wrong with the settings, the model, the prompt or the folder. What the
        settings and the model can tell is known before anything is written.
    """
    subject = open_subject(settings)
    source = subject.model.source
    # A file of text may change between two calls.
    prompt = hashlib.sha256(repr(subject.tokens).encode()).hexdigest()
    own = own_fields(settings, InfluenceSettings)

    def steps(done: Done) -> Steps:
        for kind, rows in measure(settings, subject, done):
            yield f"{kind} attention", rows

    return run_study(
        out,
        fixed={"study": "influence", **own, **source, "prompt_sha256": prompt},
        source=source,
        key=KEY,
        measure=steps,
        draw=_draw,
        command=command,
        advance=advance,
    )


def _draw(
    rows: Sequence[Row], settings: Mapping[str, object], record: Mapping[str, object]
) -> Files:
    figures = {"profile": profile_figure(rows), "layers": layers_figure(rows)}
    drawn = {f"figures/{stem}.svg": to_svg(figure, stem) for stem, figure in figures.items()}
    return {**drawn, "index.html": influence_page(rows, settings, record)}
