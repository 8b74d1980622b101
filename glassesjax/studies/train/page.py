"""What the pages of a training and of a sweep show, by the names of their templates."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from glassesjax.report.chart import Chart
from glassesjax.report.colors import series_of
from glassesjax.report.render import Plot, page, plots
from glassesjax.runs.run import Run
from glassesjax.studies.train.cells import TrainedDecoder, Training, decoders_of, influences_of
from glassesjax.studies.train.charts import (
    MEASURES,
    MOST_DECODERS,
    STATES,
    format_colors,
    hero_of,
    signals_of,
    state_of,
)
from glassesjax.studies.train.failure_cells import FACTOR
from glassesjax.studies.train.records import TrainConstants, TrainRow
from glassesjax.studies.train.summary import TrainSummary

MOST_FINDINGS = 4


def train_page(
    run: Run[TrainRow, TrainConstants],
    training: Training,
    summary: TrainSummary,
    figures: Mapping[str, Plot],
) -> str:
    """One self-contained page on a run of the training.

    Returns:
      An HTML document without references to anything outside it. The same rows give the same text.
    """
    known = run.constants
    decoders = decoders_of([training])
    # What each decoder answers to each pair, a line an n.
    answers = []
    for one in (each for each in decoders if each.pairs):
        formats, lines = list(one.pairs), []
        by_length = {name: {row.length: row for row in rows} for name, rows in one.pairs.items()}
        for pair in one.pairs[formats[0]]:
            given = [by_length[name].get(pair.length) for name in formats]
            cells = [(each, each and STATES[state_of(each)][0]) for each in given]
            lines.append({"pair": pair, "cells": cells})
        answers.append({"label": one.label, "formats": formats, "lines": lines})
    return page(
        "glassesjax.studies.train",
        run=run,
        facts=[
            f"task {known.task}", f"positions {known.positions}", f"remedy {known.remedy}",
            *common_facts([training]),
        ],
        task=known.task,
        answers=answers,
        states=[(token, meaning) for token, _, meaning in STATES],
        **shown([training], decoders, summary, figures),
    )  # fmt: skip


def common_facts(trainings: Sequence[Training]) -> list[str]:
    """What was trained, as far as it is the same in all trainings."""
    texts = (
        lambda k: f"layers {k.num_layers}", lambda k: f"heads {k.num_heads}",
        lambda k: f"width {k.model_dim}", lambda k: f"mask {k.mask}",
        lambda k: f"trained on n = {k.shortest} to {k.longest}",
        lambda k: None if k.steps is None else f"{k.steps} steps",
    )  # fmt: skip
    every = [{text(each.constants) for each in trainings} for text in texts]
    return [text for values in every if len(values) == 1 for text in values if text]


def shown(
    trainings: Sequence[Training],
    decoders: Sequence[TrainedDecoder],
    summary: TrainSummary,
    figures: Mapping[str, Plot],
) -> dict[str, Any]:
    """What both pages show.

    Returns:
      Values by the names that ``trained.html.j2`` has.
    """
    lengths = sorted({r.length for one in decoders for rows in one.answers.values() for r in rows})
    every = lambda field: [each for one in summary.trainings for each in getattr(one, field)]
    failures = {(each.setting, each.seed, each.format): each for each in every("failures")}
    hero = hero_of(figures)
    table = []
    for one in decoders:
        for name, rows in one.answers.items():
            known = {row.length: row for row in rows}
            beyond = min((row.length for row in rows if not row.in_training), default=None)
            table.append(
                {
                    "decoder": one,
                    "format": name,
                    "drawn": one.drawn.get(name),
                    "cells": [(n, known.get(n), n == beyond) for n in lengths],
                    "failure": failures.get((one.training.name, one.seed, name)),
                }
            )
    figured = (name for one in decoders for name in (one.pairs if hero == "pairs" else one.answers))
    buttons = lambda names: [(series_of(name), name) for name in dict.fromkeys(names)]
    return {
        "summary": summary,
        "hero": hero,
        "figure": figures[hero] if hero else None,
        "figures": figures,
        "formats": buttons(figured),
        "tabled": buttons(line["format"] for line in table),
        "colors": format_colors(decoders),
        "series_of": series_of,
        "findings": [*_findings(summary)][:MOST_FINDINGS],
        "lengths": lengths,
        "table": table,
        "labelled": any(one.label for one in decoders),
        "failures": [each for each in failures.values() if each.lengths],
        # Decoders of which nothing is predicted, once each.
        "refused": list(
            {(e.setting, e.seed): e for e in failures.values() if e.lengths is None}.values()
        ),
        "named": {one.name: one.label for one in trainings},
        "seeds": max((one.seed for one in decoders), default=0),
        **{field: every(field) for field in ("slopes", "orders", "ratios", "repetitions")},
        "signals": [
            (one.label, figures[f"signal-{at}"]) for at, one in enumerate(signals_of(decoders))
        ],
        "measures": MEASURES,
        "influences": [
            (cell, figures[f"influence-{at}"])
            for at, cell in enumerate(influences_of(trainings)[:MOST_DECODERS])
        ],
        "factor": FACTOR,
        "most": MOST_DECODERS,
    }


def _findings(summary: TrainSummary) -> Iterator[str]:
    """Names of the findings that there are, those of the rarer measurements first.

    None repeats the title: it has the accuracy beyond the training where no pair was evaluated, and
    that at trained lengths where nothing is learned.
    """
    each, finite = summary.trainings, not summary.passes.not_finite
    titled = summary.accuracy_following and summary.learned and not summary.collisions
    there = {
        "contradictions": summary.num_contradictions,
        "ratio": any(one.ratios for one in each),
        "influence": any(order.row.influence for one in each for order in one.orders),
        "boundary": finite and summary.boundary and summary.following and not titled,
        "reach": finite and summary.reach and not summary.learned,
        "collision": finite and summary.first_collision,
        "predictions": summary.predictions.compared,
        "lowest": finite and summary.lowest and summary.lowest.accuracy < 1
        and summary.answered > 1 and summary.learned,
        "refused": any(cell.wrong for one in each for cell in one.failures),
    }  # fmt: skip
    return (name for name, is_there in there.items() if is_there)


# Fields of rows that are the data of a figure.
DATA: Mapping[str, Sequence[str]] = {
    "pairs": ("length", "target", "next_target", "answer", "next_answer", "correct", "collision"),
    "answers": ("length", "exact_match", "logit_margin", "examples"),
}
PREDICTED = ("predicted", "predicted_low", "predicted_high", "observed")


def plots_of(
    figures: Mapping[str, Callable[[], Chart]], decoders: Sequence[TrainedDecoder]
) -> dict[str, Plot]:
    """Each figure drawn, the one that answers also for a phone and linear, and with its data."""
    hero, data = hero_of(figures), []
    what = "pairs" if hero == "pairs" else "answers"
    for one in decoders:
        for name, rows in getattr(one, what).items():
            known = {"decoder": one.training.name, "seed": one.seed, "format": name}
            if what == "pairs":
                known |= {each: getattr(one.lengths.get(name), each, None) for each in PREDICTED}
            data += [known | {each: getattr(row, each) for each in DATA[what]} for row in rows]
    return plots(figures, hero=hero, linear=True, rows=data)
