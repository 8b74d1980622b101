"""What answers hear of each place, and ratios, in words and tables: never more than rows show."""

from collections.abc import Sequence

from glassesjax.files import Row
from glassesjax.report.fields import measured
from glassesjax.report.markup import Markup, element, picture, table
from glassesjax.report.numbers import MISSING
from glassesjax.studies.train.heard_cells import MEASURES, Places, decoder_name, heard_cells
from glassesjax.studies.train.heard_figures import heard_figure

HEARD = {
    "influence": "Frobenius norm of the derivative, in the embedding of the token that is asked"
    " for, of the representation that must say it; mean over examples.",
    "rollout": "Share of the paths of attention and residual stream that lead there.",
    "printed bound": "The bound of Theorem 5.1 as printed, which takes attention as fixed.",
    "order": "Spearman's rank correlation over places, of the share of right answers and a measure;"
    " in brackets 95% of a bootstrap over examples, places held fixed.",
    "earliness": "The place itself, the first one highest: a control. Where it has the same order,"
    " the training may have made it, which asks early places more often.",
    "dispersion": "How much right answers differ between places, in units of what chance would do.",
}
RATIO = {
    "ratio only": "The accuracy of the best answer that knows the ratio of the counts and the last"
    " token, exactly.",
    "repetition": "An item with each token k times, in its place or as a whole: 10 gives 1100 and"
    " 1010.",
}


def heard_headlines(rows: Sequence[Row]) -> list[str]:
    """What the rows say of over-squashing and of ratios, a sentence each.

    Args:
      rows: Of one or more runs of the train study.

    Returns:
      Plain text; nothing where neither was measured.
    """
    return [_ordered(cell) for cell in heard_cells(rows)] + [
        _counted(row) for row in rows if row["kind"] == "ratio"
    ]


def words_of(rows: Sequence[Row]) -> dict[str, str]:
    """The words that the sections of these rows need.

    Args:
      rows: Of one or more runs of the train study.

    Returns:
      Meanings by word.
    """
    kinds = {row["kind"] for row in rows}
    return (HEARD if "heard_order" in kinds else {}) | (RATIO if "ratio" in kinds else {})


def _ordered(cell: Places) -> str:
    about = f"{cell.name}, length {cell.length}: {measured(cell.row, 'right'):.0%} right"
    told = {name: cell.order(name) for name in MEASURES}
    if None in told.values():
        return f"{about}; not applicable, for accuracy or a measure has no order of places."
    said = ", ".join(f"{MEASURES[name]} {order.text}" for name, order in told.items() if order)
    return f"{about}; order of the places against {said}."


def _counted(row: Row) -> str:
    accuracy, best = measured(row, "accuracy"), measured(row, "ratio_only")
    beyond = "more than" if row["likelier_than_ratio"] else "not more than"
    return (
        f"{decoder_name(row)}, mask {row['mask']}: {accuracy:.2%} of all items are counted,"
        f" {beyond} the ratio alone could give ({best:.2%})."
    )


def heard_section(rows: Sequence[Row]) -> Markup:
    """Order of the places and their figure; nothing where nothing was heard.

    Args:
      rows: Of one or more runs of the train study.

    Returns:
      A section of a page.
    """
    cells = heard_cells(rows)
    if not cells:
        return Markup("")
    heads = ["decoder", "length", "right", "dispersion", *MEASURES.values()]
    return element(
        "section",
        element("h2", "What an answer hears of each place"),
        table(heads, [_line(cell) for cell in cells]),
        picture(
            heard_figure(rows),
            "heard",
            "Accuracy by place beside influence, rollout and bound",
            "Points: the share of right answers. Lines: means over examples, each in units of its"
            " largest.",
        ),
    )


def _line(cell: Places) -> list[object]:
    spread = cell.row["dispersion"]
    orders = (cell.order(name) for name in MEASURES)
    return [
        cell.name,
        cell.length,
        f"{measured(cell.row, 'right'):.1%}",
        MISSING if spread is None else f"{float(spread):.1f}",
        *("not applicable" if order is None else order.text for order in orders),
    ]


def ratio_section(rows: Sequence[Row]) -> Markup:
    """Accuracy beside that of the ratio, and repetitions; nothing where no ratio was asked.

    Args:
      rows: Of one or more runs of the train study.

    Returns:
      A section of a page.
    """
    found = [row for row in rows if row["kind"] == "ratio"]
    if not found:
        return Markup("")
    pairs = [row for row in rows if row["kind"] == "repeated"]
    heads = ["decoder", "length", "pairs", "largest difference", "roundoff", "same answer"]
    return element(
        "section",
        element("h2", "More than a ratio?"),
        element("p", *(f"{_counted(row)} " for row in found)),
        table([*heads, "both right"], [_pairs(row) for row in pairs]),
        element("p", "Items of each length against their repetitions, by the scores in float64."),
    )


def _pairs(row: Row) -> list[object]:
    allowed = row["roundoff"]
    return [
        decoder_name(row),
        row["length"],
        row["pairs"],
        f"{measured(row, 'apart'):.2g}",
        MISSING if allowed is None else f"{float(allowed):.2g}",
        f"{measured(row, 'same_answer'):.0%}",
        f"{measured(row, 'both_right'):.0%}",
    ]
