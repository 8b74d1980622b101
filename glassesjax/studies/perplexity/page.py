"""The perplexity page: rows and figures as one HTML file that needs nothing beside itself."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePath

from glassesjax.files import Row
from glassesjax.report.document import document, glossary, origin, weights_of
from glassesjax.report.markup import Markup, bullets, element, fold, picture, table
from glassesjax.report.models import MODELS
from glassesjax.report.numbers import MISSING
from glassesjax.report.orders import basis
from glassesjax.statistics.intervals import Interval
from glassesjax.studies.perplexity import words
from glassesjax.studies.perplexity.figures import positions_figure, slots_figure
from glassesjax.studies.perplexity.sentences import (
    perplexity_headlines,
    ratio,
    size_name,
    times,
    told,
)
from glassesjax.studies.perplexity.totals import FULL, Total, Totals


def perplexity_page(
    rows: Sequence[Row], settings: Mapping[str, object], provenance: Mapping[str, object]
) -> str:
    """One self-contained page on a perplexity run.

    Args:
      rows: Rows of the perplexity study; what not all policies have read is left out.
      settings: The study's settings, shown as they are.
      provenance: Where the rows were made, shown as it is.

    Returns:
      An HTML document without scripts, links or outside resources. The same rows give the same
      text.

    Raises:
      ValueError: There is no stretch of the text that all policies have read.
    """
    totals = Totals(rows)
    title = f"What {_model(totals)} predicts with a bounded memory"
    body = element(
        "main",
        _header(totals, title),
        _tiles(totals),
        element("h2", "What the rows say"),
        bullets(perplexity_headlines(rows), "says"),
        _by_slots(rows, totals),
        _by_position(rows),
        _costs(totals),
        glossary(words.GLOSSARY),
        _methods(totals),
        origin(settings, {**weights_of(totals.first_row), **provenance}),
        element("footer", "Made by glassesjax from the rows of this run; every number is theirs."),
    )
    return document(title, body)


def _model(totals: Totals) -> str:
    name = str(totals.first_row["model"])
    return MODELS.get(name, PurePath(name).name)


def _header(totals: Totals, title: str) -> Markup:
    row, windows = totals.first_row, len({window for window, _ in totals.places})
    book = "one running book" if row["span"] == "book" else f"{windows} window{'s' * (windows > 1)}"
    length = f"{'' if row['span'] == 'book' else 'up to '}{totals.window_tokens} tokens"
    counts = [str(row["text"]), f"{totals.tokens} tokens scored", book, length]
    counts += [f"{row['layers']} layers", f"spacing {row['spacing']}", str(row["dtype"])]
    return element(
        "header",
        element("p", "glassesjax · perplexity study", class_="kicker"),
        element("h1", title),
        *(element("p", sentence, class_="lead") for sentence in words.LEAD),
        element("p", " · ".join(counts), class_="facts"),
    )


def _tiles(totals: Totals) -> Markup:
    shown = []
    if totals.full is not None:
        shown.append(_tile(told(totals.full.perplexity), "", "perplexity with nothing forgotten"))
    for slots in totals.slots:
        found = sorted(totals(name, slots).perplexity for name in totals.here(slots))
        if found:
            span = " to ".join(dict.fromkeys((told(found[0]), told(found[-1]))))
            shown.append(_tile(span, "", f"perplexity with {slots} slots, over the policies"))
    return element("ul", *shown, class_="tiles")


def _tile(figure: str, unit: str, said: str) -> Markup:
    shown = element("b", figure, " ", element("small", unit))
    return element("li", shown, element("span", said))


def _by_slots(rows: Sequence[Row], totals: Totals) -> Markup:
    label = "Perplexity against slots, a line for each policy"
    drawn = picture(slots_figure(rows), "slots", label, words.SLOTS_CAPTION)
    heads = ("paper, LLaMA-2-7B", *words.PAPER_SLOTS)
    lines = [(name, *(told(value) for value in line)) for name, line in words.PAPER.items()]
    paper = fold(
        "Table: the same in the paper", element("p", words.PAPER_CAPTION), table(heads, lines)
    )
    over = fold("Table: over the full state", _ratios(totals)) if totals.full else Markup("")
    pairs = _pairs(totals)
    measured = _table(totals, lambda total: told(total.perplexity))
    heading = element("h2", "Perplexity by size of the state")
    return element("section", heading, drawn, measured, over, pairs, paper)


def _ratios(totals: Totals) -> Markup:
    base = totals.full.perplexity if totals.full else 1.0
    return _table(totals, lambda total: times(total.perplexity / base))


def _pairs(totals: Totals) -> Markup:
    """Each pair of policies of one size, with the interval of its ratio."""
    cells = [
        (slots, first, second)
        for slots in totals.slots
        for first, second in itertools.combinations(totals.here(slots), 2)
    ]
    if totals.obstacle or not totals.blocks or not cells:
        return Markup("")
    lines = [
        (
            slots,
            f"{first} / {second}",
            ratio(totals, (first, slots), (second, slots)),
            _verdict(gap),
        )
        for slots, first, second in cells
        for gap in [totals.difference((first, slots), (second, slots))]
    ]
    heads = ("slots", "pair", "ratio of perplexities", "")
    note = element("p", words.PAIRS_CAPTION.format(basis=basis(totals.blocks), pairs=len(lines)))
    return fold("Table: pairs of policies", note, table(heads, lines))


def _verdict(gap: Interval) -> str:
    return "told apart" if gap.excludes(0.0) else "not told apart"


def _table(totals: Totals, show: Callable[[Total], str]) -> Markup:
    """Policies against slots, with the full state as its own column, as it has its own size."""
    cell = lambda name, slots: show(totals(name, slots)) if (name, slots) in totals else MISSING
    sizes = totals.slots
    lines = [(name, *(cell(name, slots) for slots in sizes)) for name in totals.policies]
    if totals.full is None:
        return table(("policy", *sizes), lines)
    full = totals.full_cell()
    heads = ("policy", *sizes, f"{full[1] if full else ''} ({FULL})")
    return table(
        heads,
        [*((*line, MISSING) for line in lines), (FULL, *[MISSING] * len(sizes), show(totals.full))],
    )


def _by_position(rows: Sequence[Row]) -> Markup:
    label = "Perplexity by position in the window, a panel for each size of the state"
    drawn = picture(positions_figure(rows), "positions", label, words.POSITIONS_CAPTION)
    return element("section", element("h2", "Where in the window it is lost"), drawn)


def _costs(totals: Totals) -> Markup:
    sizes = fold("Table: bytes of one state", _table(totals, lambda total: size_name(total.bytes)))
    speed = _table(totals, lambda total: f"{total.speed:.0f}")
    tables = (sizes, fold("Table: tokens read per second", speed))
    return element("section", element("h2", "What it costs"), *tables)


def _methods(totals: Totals) -> Markup:
    said, weights = [*words.METHODS], str(totals.first_row.get("weights", ""))
    if "q4" in weights.lower():
        said.append(words.FOUR_BITS.format(weights=weights))
    return element("section", element("h2", "Methods and caveats"), bullets(said, "says"))
