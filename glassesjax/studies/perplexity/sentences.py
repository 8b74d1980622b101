"""What the rows of a perplexity run say in plain sentences, and never more than they show."""

import math

from glassesjax.cache.obstacles import OBSTACLES, text_title
from glassesjax.cache.policies import SHORT
from glassesjax.cache.readable import BY_HEART, may_know
from glassesjax.report.numbers import short
from glassesjax.report.orders import basis, told_apart
from glassesjax.studies.perplexity.summary import (
    CellSummary,
    PairSummary,
    PerplexitySummary,
    SizeSummary,
)

PLAIN = 1e6  # from here on numbers are told by their power of ten


def headline(summary: PerplexitySummary) -> str:
    """The run in a line, its numbers first.

    Args:
      summary: Of the run.

    Returns:
      Perplexities, by size and policy.
    """
    full = [f"full {told(summary.full.perplexity)}"] if summary.full else []
    sizes = [
        f"{size.slots} slots: "
        + ", ".join(f"{p} {told(summary.of(p, size.slots).perplexity)}" for p in size.policies)
        for size in summary.sizes
        if size.policies
    ]
    lost = summary.passes.phrases("segments")
    return f"perplexity {'; '.join([*lost, *full, *sizes])}"


def perplexity_headlines(summary: PerplexitySummary) -> list[str]:
    """A few sentences on the whole run, with their numbers.

    Args:
      summary: Of the run.

    Returns:
      Plain text, on the full state, whether the text can tell policies apart, the values at each
      size with what is told apart, the cost over the full state, windows without a sink, and the
      short baseline. Nothing is called an order unless the interval of a paired difference over
      blocks of the text leaves zero out.
    """
    full = summary.full
    sentences = [
        _not_finite(summary),
        _full(summary, full) if full else "",
        _known(summary, full) if full else "",
        _obstacle(summary),
        *(_size(summary, size) for size in summary.sizes),
        _cost(summary),
        _sinkless(summary),
        _short(summary),
        _left_out(summary),
    ]
    return [text for text in sentences if text]


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


def _not_finite(summary: PerplexitySummary) -> str:
    known, bad = summary.passes
    return f"Not finite, in {bad} of {known} stretches: these have no result." if bad else ""


def _full(summary: PerplexitySummary, full: CellSummary) -> str:
    each = f"{summary.windows} windows of up to" if summary.windows > 1 else "one window of"
    book = summary.span == "book"
    where = "one running book" if book else f"{each} {summary.window_tokens} tokens"
    name = text_title(summary.text)
    text = f"With nothing forgotten, the perplexity of {full.tokens} tokens of {name}"
    return f"{text} is {told(full.perplexity)} (in {where}; state of {size_name(full.bytes)})."


def _known(summary: PerplexitySummary, full: CellSummary) -> str:
    if summary.ranking_obstacle or not may_know(full.perplexity):
        return ""
    text = f"A perplexity of {told(full.perplexity)} is below {BY_HEART:g}"
    return f"{text}: the model may know this text by heart, and another text may order otherwise."


def _obstacle(summary: PerplexitySummary) -> str:
    name = summary.ranking_obstacle
    return f"Nothing can be ranked here: {OBSTACLES[name]}." if name else ""


def _size(summary: PerplexitySummary, size: SizeSummary) -> str:
    """The values in the order of the settings, and what is told apart."""
    if not size.policies:
        return ""
    cells = [summary.of(name, size.slots) for name in size.policies]
    each = [f"{cell.cell.policy} {told(cell.perplexity)}" for cell in cells]
    state = size_name(cells[0].bytes)
    return f"With {size.slots} slots ({state}): {', '.join(each)}.{_apart(summary, size)}"


def _apart(summary: PerplexitySummary, size: SizeSummary) -> str:
    if summary.ranking_obstacle or not size.pairs:
        return ""
    if not summary.blocks:
        return " No order can be inferred: these rows have no losses by block."
    gaps = {(pair.first.policy, pair.second.policy): pair.difference for pair in size.pairs}
    apart = told_apart(size.policies, lambda first, second: gaps[first, second])
    return f" Of these, {apart} ({basis(summary.blocks)})."


def _cost(summary: PerplexitySummary) -> str:
    """What each policy costs over the full state, size by size."""
    if summary.ranking_obstacle:
        return ""
    each = []
    for size in summary.sizes:
        ratios = [f"{pair.first.policy} {ratio(pair)}" for pair in size.over_full]
        each += [f"{', '.join(ratios)} at {size.slots} slots"] if ratios else []
    return f"Perplexity over that of the full state: {'; '.join(each)}." if each else ""


def ratio(pair: PairSummary) -> str:
    """One perplexity over another, with its interval where there is one.

    Args:
      pair: The two.

    Returns:
      A factor, and in brackets the ends of its interval.
    """
    # Close pairs differ by a thousandth.
    factor = lambda value: f"{value:.3f}" if value < 2 else times(value)
    value, low, high = map(factor, pair.ratio)
    return f"{value} ({low} to {high})" if all(map(math.isfinite, pair.difference)) else value


def _sinkless(summary: PerplexitySummary) -> str:
    pairs = [size.over_sinks for size in summary.sizes if size.over_sinks]
    if not pairs or summary.ranking_obstacle:
        return ""
    each = ", ".join(f"{ratio(pair)} at {pair.first.slots} slots" for pair in pairs)
    window, sinks = pairs[0].first.policy, pairs[0].second.policy
    return (
        f"The perplexity of {window}, which drops the first tokens, over that of {sinks}: {each}."
    )


def _short(summary: PerplexitySummary) -> str:
    each = []
    for size in summary.sizes:
        if size.short is None:
            continue
        policies, lower, higher, tied = size.short
        count = f"{lower} of {policies} policies are lower, {higher} higher"
        some = "" if summary.ranking_obstacle else f" ({count}, {tied} not told apart)"
        each.append(f"{told(summary.of(SHORT, size.slots).perplexity)} at {size.slots} slots{some}")
    if not each:
        return ""
    text = "Starting anew after as many tokens as there are slots (short) gives"
    return f"{text} {', '.join(each)}."


def _left_out(summary: PerplexitySummary) -> str:
    if not summary.left_out:
        return ""
    some = f"{summary.left_out} stretches of the text were not read by all policies"
    return f"{some} and sizes: they are left out everywhere. The same command goes on."
