"""What answers hear of each place, and ratios, in words and tables: never more than rows show."""

from glassesjax.report.canvas import Figure
from glassesjax.report.markup import Markup, element, picture, table
from glassesjax.report.numbers import MISSING
from glassesjax.studies.train.heard_cells import MEASURES
from glassesjax.studies.train.summary import OrderSummary, RatioSummary, Repetitions, TrainSummary

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


def heard_headlines(summary: TrainSummary) -> list[str]:
    """What the rows say of over-squashing and of ratios, a sentence each.

    Args:
      summary: Of one or more trainings.

    Returns:
      Plain text; nothing where neither was measured.
    """
    orders = [_ordered(cell) for one in summary.trainings for cell in one.orders]
    return orders + [_counted(each) for one in summary.trainings for each in one.ratios]


def words_of(summary: TrainSummary) -> dict[str, str]:
    """The words that the sections need.

    Args:
      summary: Of one or more trainings.

    Returns:
      Meanings by word.
    """
    orders = any(one.orders for one in summary.trainings)
    ratios = any(one.ratios for one in summary.trainings)
    return (HEARD if orders else {}) | (RATIO if ratios else {})


def _ordered(cell: OrderSummary) -> str:
    about = f"{cell.decoder}, length {cell.length}: {cell.accuracy:.0%} right"
    if None in cell.orders.values():
        return f"{about}; not applicable, for accuracy or a measure has no order of places."
    orders = {MEASURES[name]: order for name, order in cell.orders.items() if order}
    said = ", ".join(f"{name} {order.text}" for name, order in orders.items())
    return f"{about}; order of the places against {said}."


def _counted(counted: RatioSummary) -> str:
    beyond = "more than" if counted.exceeds_ratio_only else "not more than"
    return (
        f"{counted.decoder}, mask {counted.mask}: {counted.accuracy:.2%} of all items are counted,"
        f" {beyond} the ratio alone could give ({counted.ratio_only_accuracy:.2%})."
    )


def heard_section(summary: TrainSummary, figure: Figure | None) -> Markup:
    """Order of the places and their figure; nothing where nothing was heard.

    Args:
      summary: Of one or more trainings.
      figure: Of ``heard_figure``; none where no influence was measured.

    Returns:
      A section of a page.
    """
    cells = [cell for one in summary.trainings for cell in one.orders]
    if figure is None:
        return Markup("")
    heads = ["decoder", "length", "right", "dispersion", *MEASURES.values()]
    return element(
        "section",
        element("h2", "What an answer hears of each place"),
        table(heads, [_line(cell) for cell in cells]),
        picture(
            figure,
            "heard",
            "Accuracy by place beside influence, rollout and bound",
            "Points: the share of right answers. Lines: means over examples, each in units of its"
            " largest.",
        ),
    )


def _line(cell: OrderSummary) -> list[object]:
    return [
        cell.decoder,
        cell.length,
        f"{cell.accuracy:.1%}",
        MISSING if cell.dispersion is None else f"{cell.dispersion:.1f}",
        *("not applicable" if order is None else order.text for order in cell.orders.values()),
    ]


def ratio_section(summary: TrainSummary) -> Markup:
    """Accuracy beside that of the ratio, and repetitions; nothing where no ratio was asked.

    Args:
      summary: Of one or more trainings.

    Returns:
      A section of a page.
    """
    counted = [each for one in summary.trainings for each in one.ratios]
    if not counted:
        return Markup("")
    pairs = [each for one in summary.trainings for each in one.repetitions]
    heads = ["decoder", "length", "pairs", "largest difference", "roundoff", "same answer"]
    return element(
        "section",
        element("h2", "More than a ratio?"),
        element("p", *(f"{_counted(each)} " for each in counted)),
        table([*heads, "both right"], [_pairs(each) for each in pairs]),
        element("p", "Items of each length against their repetitions, by the scores in float64."),
    )


def _pairs(repetitions: Repetitions) -> list[object]:
    row = repetitions.row
    return [
        repetitions.decoder,
        row.length,
        row.pairs,
        f"{row.max_difference:.2g}",
        MISSING if row.roundoff is None else f"{row.roundoff.roundoff:.2g}",
        f"{row.same_answer:.0%}",
        f"{row.both_correct:.0%}",
    ]
