"""What the rows of a perplexity run say in plain sentences, and never more than they show."""

import math
import re
from collections.abc import Sequence

from glassesjax.cache.policies import SHORT
from glassesjax.cache.readable import BY_HEART, may_know
from glassesjax.files import Row
from glassesjax.report.fields import not_finite
from glassesjax.report.numbers import short
from glassesjax.report.orders import basis, told_apart
from glassesjax.studies.perplexity.totals import Totals

LARGEST = 700.0  # of a logarithm whose exponential float64 has
PLAIN = 1e6  # from here on numbers are told by their power of ten


def perplexity_headlines(rows: Sequence[Row]) -> list[str]:
    """A few sentences on the whole run, with their numbers.

    Args:
      rows: Rows of the perplexity study.

    Returns:
      Plain text, on the full state, whether the text can tell policies apart, the values at each
      size with what is told apart, the cost over the full state, windows without a sink, and the
      short baseline. Nothing is called an order unless the interval of a paired difference over
      blocks of the text leaves zero out.

    Raises:
      ValueError: There is no stretch of the text that all policies have read.
    """
    totals = Totals(rows)
    sizes = [_size(totals, slots) for slots in totals.slots]
    lost = [_sinkless(totals, name) for name in totals.bounded if name == "window"]
    said = [
        *not_finite(rows, "stretches"),
        _full(totals),
        _known(totals),
        _obstacle(totals),
        *sizes,
        _cost(totals),
        *lost,
    ]
    return [text for text in (*said, _short(totals), _left_out(totals)) if text]


def told(perplexity: float) -> str:
    """A perplexity with two digits behind the point, fewer where it is large."""
    if not math.isfinite(perplexity):
        return "not finite"
    if perplexity >= PLAIN:
        return short(perplexity)
    return f"{perplexity:.2f}" if perplexity < 1000 else f"{perplexity:,.0f}"


def times(factor: float) -> str:
    """How often one perplexity goes into another."""
    if not math.isfinite(factor):
        return "not finite"
    if factor >= PLAIN:
        return short(factor)
    return f"{factor:.0f}" if factor >= 10 else f"{factor:.1f}" if factor >= 2 else f"{factor:.2f}"


def size_name(bytes_: int) -> str:
    """Bytes in the unit in which they are read."""
    for unit, size in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if bytes_ >= size:
            return f"{bytes_ / size:.1f} {unit}"
    return f"{bytes_} B"


def _full(totals: Totals) -> str:
    if totals.full is None:
        return ""
    found, row = totals.full, totals.first_row
    windows = len({window for window, _ in totals.places})
    each = f"{windows} windows of up to" if windows > 1 else "one window of"
    where = "one running book" if row["span"] == "book" else f"{each} {totals.window_tokens} tokens"
    text = f"With nothing forgotten, the perplexity of {found.tokens} tokens of {row['text']}"
    return f"{text} is {told(found.perplexity)} (in {where}; state of {size_name(found.bytes)})."


def _known(totals: Totals) -> str:
    if totals.full is None or totals.obstacle or not may_know(totals.full.perplexity):
        return ""
    text = f"A perplexity of {told(totals.full.perplexity)} is below {BY_HEART:g}"
    return f"{text}: the model may know this text by heart, and another text may order otherwise."


def _obstacle(totals: Totals) -> str:
    return f"Nothing can be ranked here: {totals.obstacle}." if totals.obstacle else ""


def _size(totals: Totals, slots: int) -> str:
    """The values in the order of the settings, and what is told apart."""
    here = totals.here(slots)
    if not here:
        return ""
    each = [f"{name} {told(totals(name, slots).perplexity)}" for name in here]
    size = size_name(totals(here[0], slots).bytes)
    return f"With {slots} slots ({size}): {', '.join(each)}.{_apart(totals, slots)}"


def _apart(totals: Totals, slots: int) -> str:
    here = totals.here(slots)
    if totals.obstacle or len(here) < 2:
        return ""
    if not totals.blocks:
        return " No order can be inferred: these rows have no losses by block."
    gap = lambda first, second: totals.difference((first, slots), (second, slots))
    return f" Of these, {told_apart(here, gap)} ({basis(totals.blocks)})."


def _cost(totals: Totals) -> str:
    """What each policy costs over the full state, size by size."""
    full = totals.full_cell()
    if full is None or totals.obstacle:
        return ""
    each = []
    for slots in totals.slots:
        ratios = [f"{name} {ratio(totals, (name, slots), full)}" for name in totals.here(slots)]
        each += [f"{', '.join(ratios)} at {slots} slots"] if ratios else []
    return f"Perplexity over that of the full state: {'; '.join(each)}." if each else ""


def ratio(totals: Totals, first: tuple[str, int], second: tuple[str, int]) -> str:
    """One perplexity over another, with its interval where there is one.

    Args:
      totals: The run.
      first: A policy and its slots.
      second: Another.

    Returns:
      A factor, and in brackets the ends of its interval.
    """
    gap = totals.difference(first, second)

    def factor(log: float) -> str:
        value = math.exp(log) if log < LARGEST else math.inf
        return f"{value:.3f}" if value < 2 else times(value)  # close pairs differ by a thousandth

    if not all(map(math.isfinite, gap)):
        return factor(gap.value)
    return f"{factor(gap.value)} ({factor(gap.low)} to {factor(gap.high)})"


def _sinkless(totals: Totals, name: str) -> str:
    """What the first tokens are worth to a window, by the window that keeps the fewest of them."""
    counts = {other: re.fullmatch(r"window\+(\d+)", other) for other in totals.bounded}
    sinks = {other: int(found[1]) for other, found in counts.items() if found}
    fewest = min(sinks, key=lambda other: sinks[other], default="")
    pairs = [
        (slots, ratio(totals, (name, slots), (fewest, slots)))
        for slots in totals.slots
        if (name, slots) in totals and (fewest, slots) in totals
    ]
    if not pairs or totals.obstacle:
        return ""
    each = ", ".join(f"{factor} at {slots} slots" for slots, factor in pairs)
    return f"The perplexity of {name}, which drops the first tokens, over that of {fewest}: {each}."


def _short(totals: Totals) -> str:
    sizes = [slots for slots in totals.slots if (SHORT, slots) in totals and totals.here(slots)]
    if not sizes:
        return ""
    each = []
    for slots in sizes:
        gaps = [totals.difference((n, slots), (SHORT, slots)) for n in totals.here(slots)]
        lower = sum(gap.excludes(0.0) and gap.value < 0 for gap in gaps)
        higher = sum(gap.excludes(0.0) and gap.value > 0 for gap in gaps)
        tied = len(gaps) - lower - higher
        count = f"{lower} of {len(gaps)} policies are lower, {higher} higher, {tied} not told apart"
        some = "" if totals.obstacle else f" ({count})"
        each.append(f"{told(totals(SHORT, slots).perplexity)} at {slots} slots{some}")
    text = "Starting anew after as many tokens as there are slots (short) gives"
    return f"{text} {', '.join(each)}."


def _left_out(totals: Totals) -> str:
    if not totals.left_out:
        return ""
    some = f"{totals.left_out} stretches of the text were not read by all policies"
    return f"{some} and sizes: they are left out everywhere. The same command goes on."
