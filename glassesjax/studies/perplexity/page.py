"""The perplexity page: rows and figures as one HTML file that needs nothing beside itself."""

from collections.abc import Callable
from pathlib import PurePath

from glassesjax.cache.obstacles import text_title
from glassesjax.report.document import document, glossary, origin
from glassesjax.report.markup import Markup, bullets, element, fold, picture, table
from glassesjax.report.models import MODELS
from glassesjax.report.numbers import MISSING
from glassesjax.report.orders import basis
from glassesjax.runs.run import Result
from glassesjax.studies.perplexity import words
from glassesjax.studies.perplexity.figures import positions_figure, slots_figure
from glassesjax.studies.perplexity.records import PerplexityConstants, PerplexityRow
from glassesjax.studies.perplexity.sentences import (
    perplexity_headlines,
    ratio,
    size_name,
    times,
    told,
)
from glassesjax.studies.perplexity.summary import CellSummary, PerplexitySummary
from glassesjax.studies.perplexity.totals import FULL


def perplexity_page(result: Result[PerplexityRow, PerplexityConstants, PerplexitySummary]) -> str:
    """One self-contained page on a perplexity run.

    Args:
      result: The run; what not all policies have read is left out.

    Returns:
      An HTML document without scripts, links or outside resources. The same rows give the same
      text.
    """
    run, summary = result.run, result.summary
    title = f"What {_model(run.constants)} predicts with a bounded memory"
    body = element(
        "main",
        _header(run.constants, summary, title),
        _tiles(summary),
        element("h2", "What the rows say"),
        bullets(perplexity_headlines(summary), "says"),
        _by_slots(summary),
        _by_position(summary),
        _costs(summary),
        glossary(words.GLOSSARY),
        _methods(run.constants, summary),
        origin(run.settings, run.made),
        element("footer", "Made by glassesjax from the rows of this run; every number is theirs."),
    )
    return document(title, body)


def _model(shared: PerplexityConstants) -> str:
    return MODELS.get(shared.model, PurePath(shared.model).name)


def _header(shared: PerplexityConstants, summary: PerplexitySummary, title: str) -> Markup:
    windows, whole = summary.windows, shared.span == "book"
    book = "one running book" if whole else f"{windows} window{'s' * (windows > 1)}"
    length = f"{'' if whole else 'up to '}{shared.window_tokens} tokens"
    counts = [text_title(shared.text), f"{summary.tokens} tokens scored", book, length]
    spacing = words.SPACING[shared.position_ids]
    counts += [f"{shared.num_layers} layers", f"spacing {spacing}", shared.dtype]
    return element(
        "header",
        element("p", "glassesjax · perplexity study", class_="kicker"),
        element("h1", title),
        *(element("p", sentence, class_="lead") for sentence in words.LEAD),
        element("p", " · ".join(counts), class_="facts"),
    )


def _tiles(summary: PerplexitySummary) -> Markup:
    shown = []
    if summary.full is not None:
        shown.append(_tile(told(summary.full.perplexity), "", "perplexity with nothing forgotten"))
    for size in summary.sizes:
        values = sorted(summary.of(name, size.slots).perplexity for name in size.policies)
        if values:
            span = " to ".join(dict.fromkeys((told(values[0]), told(values[-1]))))
            shown.append(_tile(span, "", f"perplexity with {size.slots} slots, over the policies"))
    return element("ul", *shown, class_="tiles")


def _tile(figure: str, unit: str, said: str) -> Markup:
    shown = element("b", figure, " ", element("small", unit))
    return element("li", shown, element("span", said))


def _by_slots(summary: PerplexitySummary) -> Markup:
    label = "Perplexity against slots, a line for each policy"
    drawn = picture(slots_figure(summary), "slots", label, words.SLOTS_CAPTION)
    heads = ("paper, LLaMA-2-7B", *words.PAPER_SLOTS)
    lines = [(name, *(told(value) for value in line)) for name, line in words.PAPER.items()]
    paper = fold(
        "Table: the same in the paper", element("p", words.PAPER_CAPTION), table(heads, lines)
    )
    over = fold("Table: over the full state", _ratios(summary)) if summary.full else Markup("")
    measured = _table(summary, lambda cell: told(cell.perplexity))
    heading = element("h2", "Perplexity by size of the state")
    return element("section", heading, drawn, measured, over, _pairs(summary), paper)


def _ratios(summary: PerplexitySummary) -> Markup:
    return _table(
        summary, lambda cell: MISSING if cell.over_full is None else times(cell.over_full)
    )


def _pairs(summary: PerplexitySummary) -> Markup:
    """Each pair of policies of one size, with the interval of its ratio."""
    lines = [
        (
            size.slots,
            f"{pair.first.policy} / {pair.second.policy}",
            ratio(pair),
            "told apart" if pair.distinct else "not told apart",
        )
        for size in summary.sizes
        for pair in size.pairs
    ]
    if summary.ranking_obstacle or not summary.blocks or not lines:
        return Markup("")
    heads = ("slots", "pair", "ratio of perplexities", "")
    caption = words.PAIRS_CAPTION.format(basis=basis(summary.blocks), pairs=summary.num_pairs)
    note = element("p", caption)
    return fold("Table: pairs of policies", note, table(heads, lines))


def _table(summary: PerplexitySummary, show: Callable[[CellSummary], str]) -> Markup:
    """Policies against slots, with the full state as its own column, as it has its own size."""
    sizes = summary.slots
    cell = lambda *place: show(summary.of(*place)) if place in summary else MISSING
    lines = [(name, *(cell(name, slots) for slots in sizes)) for name in summary.policies]
    if summary.full is None:
        return table(("policy", *sizes), lines)
    heads = ("policy", *sizes, f"{summary.full.cell.slots} ({FULL})")
    last = (FULL, *[MISSING] * len(sizes), show(summary.full))
    return table(heads, [*((*line, MISSING) for line in lines), last])


def _by_position(summary: PerplexitySummary) -> Markup:
    label = "Perplexity by position in the window, a panel for each size of the state"
    drawn = picture(positions_figure(summary), "positions", label, words.POSITIONS_CAPTION)
    return element("section", element("h2", "Where in the window it is lost"), drawn)


def _costs(summary: PerplexitySummary) -> Markup:
    sizes = fold("Table: bytes of one state", _table(summary, lambda cell: size_name(cell.bytes)))
    speed = _table(summary, lambda cell: f"{cell.tokens_per_second:.0f}")
    tables = (sizes, fold("Table: tokens read per second", speed))
    return element("section", element("h2", "What it costs"), *tables)


def _methods(shared: PerplexityConstants, summary: PerplexitySummary) -> Markup:
    weights = shared.weights or ""
    four_bits = [words.FOUR_BITS.format(weights=weights)] if "q4" in weights.lower() else []
    older = [words.BLOCK_LOSSES] if summary.losses_from == "blocks" else []
    lines = bullets([*words.METHODS, *older, *four_bits], "says")
    return element("section", element("h2", "Methods and caveats"), lines)
