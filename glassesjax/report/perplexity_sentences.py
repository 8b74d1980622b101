"""What the rows of a perplexity run say in plain sentences, and never more than they show."""

import math
import re
from collections.abc import Sequence

from glassesjax.records import Row
from glassesjax.report.perplexity_totals import Totals
from glassesjax.report.sentences import short
from glassesjax.studies.perplexity_rows import SHORT

PLAIN = 1e6  # from here on numbers are told by their power of ten
CLOSE = 1.005  # a factor below which two perplexities are called alike, and none of them better


def perplexity_headlines(rows: Sequence[Row]) -> list[str]:
    """A few sentences on the whole run, with their numbers.

    Args:
      rows: Rows of the perplexity study.

    Returns:
      Plain text, on the full state, the order at each size, windows without a sink, and the short
      baseline.

    Raises:
      ValueError: There is no stretch of the text that all policies have read.
    """
    totals = Totals(rows)
    orders = [_order(totals, slots) for slots in totals.slots]
    lost = [_sinkless(totals, name) for name in totals.bounded if name == "window"]
    said = [_full(totals), *orders, _best(totals), *lost, _short(totals), _left_out(totals)]
    return [text for text in said if text]


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


def _order(totals: Totals, slots: int) -> str:
    order = totals.order(slots)
    if not order:
        return ""
    each = [f"{name} {told(totals(name, slots).perplexity)}" for name in order]
    held = size_name(totals(order[0], slots).bytes)
    return f"With {slots} slots ({held}), best first: {', '.join(each)}."


def _best(totals: Totals) -> str:
    """How near the best policy of each size comes to the full state."""
    if totals.full is None:
        return ""
    best = [(slots, order[0]) for slots in totals.slots if (order := totals.order(slots))]
    ratio = lambda slots, name: totals(name, slots).perplexity / totals.full.perplexity
    each = [f"{times(ratio(*cell))} at {cell[0]} slots ({cell[1]})" for cell in best]
    if not each:
        return ""
    text = "The lowest perplexity at each size, over that of the full state, is"
    return f"{text} {', '.join(each)}."


def _sinkless(totals: Totals, name: str) -> str:
    """What the first tokens are worth to a window, by the window that keeps the fewest of them."""
    counts = {other: re.fullmatch(r"window\+(\d+)", other) for other in totals.bounded}
    sinks = {other: int(found[1]) for other, found in counts.items() if found}
    fewest = min(sinks, key=lambda other: sinks[other], default="")
    pairs = [
        (slots, totals(name, slots).perplexity / totals(fewest, slots).perplexity)
        for slots in totals.slots
        if (name, slots) in totals and (fewest, slots) in totals
    ]
    if not pairs:
        return ""
    each = ", ".join(f"{times(factor)} at {slots} slots" for slots, factor in pairs)
    return f"The perplexity of {name}, which drops the first tokens, over that of {fewest}: {each}."


def _short(totals: Totals) -> str:
    sizes = [slots for slots in totals.slots if (SHORT, slots) in totals and totals.order(slots)]
    if not sizes:
        return ""
    each = []
    for slots in sizes:
        anew = totals(SHORT, slots).perplexity
        beaten = [n for n in totals.order(slots) if totals(n, slots).perplexity * CLOSE <= anew]
        count = f"{len(beaten)} of {len(totals.order(slots))} policies do better"
        each.append(f"{told(anew)} at {slots} slots ({count})")
    text = "Starting anew after as many tokens as there are slots (short) gives"
    return f"{text} {', '.join(each)}; better is by 0.5% or more."


def _left_out(totals: Totals) -> str:
    if not totals.left_out:
        return ""
    some = f"{totals.left_out} stretches of the text were not read by all policies"
    return f"{some} and sizes: they are left out everywhere. The same command goes on."
