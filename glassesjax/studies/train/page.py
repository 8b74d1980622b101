"""The train page: what was learned, and how far it goes, in one HTML file."""

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from glassesjax.report.document import document, glossary, origin
from glassesjax.report.markup import Markup, bullets, element, format_name, picture, table
from glassesjax.report.numbers import MISSING
from glassesjax.runs.run import Run
from glassesjax.studies.train.cells import RIGHT, Answers
from glassesjax.studies.train.failing_sentences import FAILING, failing_section
from glassesjax.studies.train.heard_sentences import (
    heard_headlines,
    heard_section,
    ratio_section,
    words_of,
)
from glassesjax.studies.train.records import TrainConstants, TrainRow
from glassesjax.studies.train.summary import FormatSummary, TrainSummary

LEAD = (
    "Small decoders learn a task whose exact answer is known, at some lengths. Then they answer at"
    " those lengths and far beyond, with each of their intermediate values rounded to a format.",
)
GLOSSARY = {
    "right": "The whole answer is right: each of its tokens is ranked first, alone, given the right"
    " ones before it. Greedy writing would give that answer. A tie is no answer.",
    "margin": "The smallest lead of a right token's score over the next one's, over examples and"
    " seeds; negative where one was wrong.",
    "learned": f"At least {RIGHT:.0%} of the answers are right, the mean over seeds.",
}
METHODS = (
    "Formats are simulated: arithmetic is in float32, and every stored value is rounded, weights"
    " included. Weights were trained as the settings say.",
    "Examples of an evaluation are drawn apart from those of the training, but a short item has few"
    " forms and was seen.",
)


def headline(summary: TrainSummary) -> str:
    """The run in a line, its numbers first.

    Args:
      summary: Of one training.

    Returns:
      By format what is right in distribution, and how far it goes.
    """
    (training,) = summary.trainings
    answers = list(map(_format_headline, training.formats)) or ["no answers yet"]
    return "; ".join([*summary.passes.phrases(), *answers])


def _format_headline(answers: FormatSummary) -> str:
    if answers.not_finite:
        return f"{answers.format} not finite, at {answers.not_finite} of {answers.tested} lengths"
    share = f"{answers.in_distribution.mean:.1%} right in distribution in {answers.format}"
    return f"{share}, learned {_learned_up_to(answers)} of {answers.lengths[-1].length}"


def _learned_up_to(answers: FormatSummary) -> str:
    return "at none" if answers.reach is None else f"up to {answers.reach}"


def train_headlines(summary: TrainSummary) -> list[str]:
    """What the rows say, a sentence each.

    Args:
      summary: Of one training.

    Returns:
      Sentences in plain text.
    """
    (training,) = summary.trainings
    seen = f"lengths {training.shortest} to {training.longest} as in training ({training.mix})"
    said = [*summary.passes.sentences(), f"{seen.capitalize()}."]
    return [*said, *map(_format_sentence, training.formats), *heard_headlines(summary)]


def _format_sentence(answers: FormatSummary) -> str:
    name = answers.format
    if answers.not_finite:
        return (
            f"{name}: the loss is not finite, at {answers.not_finite} of {answers.tested} lengths."
        )
    return (
        f"{name}: {answers.in_distribution.mean:.1%} right in distribution; of the tested lengths"
        f" up to {answers.lengths[-1].length} learned {_learned_up_to(answers)}."
    )


def train_page(
    run: Run[TrainRow, TrainConstants], summary: TrainSummary, figures: Mapping[str, Figure]
) -> str:
    """One self-contained page on a run of the training.

    Args:
      run: Of the train study.
      summary: Its numbers.
      figures: By name.

    Returns:
      An HTML document without scripts, links or outside resources. The same rows give the same
      text.
    """
    title = f"What a small decoder learns of {run.constants.task}"
    (training,) = summary.trainings
    body = element(
        "main",
        _header(run.constants, title),
        element("h2", "What the rows say"),
        bullets(train_headlines(summary), "says"),
        element("h2", "Beyond the training"),
        picture(
            figures["lengths"],
            "lengths",
            "Share of right answers against the length, by format",
            "Share of right answers, the mean over seeds, and their range. Shaded: the lengths of"
            " the training.",
        ),
        _table(training.formats),
        failing_section(summary, failing_of(figures)),
        heard_section(summary, figures.get("heard")),
        ratio_section(summary),
        element("h2", "Training"),
        picture(
            figures["losses"],
            "losses",
            "Loss against the step",
            f"Mean loss over the tokens that are scored, by seed ({training.seeds}).",
        ),
        glossary({**GLOSSARY, **FAILING, **words_of(summary)}),
        element("section", element("h2", "Methods and caveats"), bullets(METHODS, "says")),
        origin(run.settings, run.made),
        element("footer", "Made by glassesjax from the rows of this run; every number is theirs."),
    )
    return document(title, body)


def failing_of(figures: Mapping[str, Figure]) -> dict[str, Figure]:
    """The figures of failure lengths.

    Args:
      figures: All of a page, by name.

    Returns:
      ``failing`` and ``signals``; none where nothing is predicted.
    """
    return {name: figures[name] for name in ("failing", "signals") if name in figures}


def _header(known: TrainConstants, title: str) -> Markup:
    counts = [f"{known.num_layers} layers", f"{known.num_heads} heads", f"width {known.model_dim}"]
    counts += [f"{name} {getattr(known, name)}" for name in ("positions", "mask", "temperature")]
    counts += [f"{name} {getattr(known, name)}" for name in ("remedy", "arithmetic")]
    counts += [f"lengths {known.shortest} to {known.longest}, {known.mix}"]
    return element(
        "header",
        element("p", "glassesjax · train study", class_="kicker"),
        element("h1", title),
        *(element("p", sentence, class_="lead") for sentence in LEAD),
        element("p", " · ".join(counts), class_="facts"),
    )


def _table(formats: Sequence[FormatSummary]) -> Markup:
    lengths = sorted({point.length for each in formats for point in each.lengths})
    lines = []
    for length in lengths:
        points = [{p.length: p.answers for p in each.lengths}.get(length) for each in formats]
        lines.append([length, *(MISSING if p is None else _share(p) for p in points)])
    lines.insert(0, ["as in training", *(_share(each.in_distribution) for each in formats)])
    heads = ["length", *(format_name(each.format) for each in formats)]
    told = element("p", "Right answers at each length; in brackets the margin.")
    return element("section", told, table(heads, lines))


def _share(answers: Answers) -> str:
    return f"{answers.mean:.1%} ({answers.logit_margin:.3g})"
