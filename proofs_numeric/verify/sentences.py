"""What the rows of the ledger say, in plain sentences and in a plain table."""

from collections.abc import Sequence

from glassesjax.files import Row
from glassesjax.report.fields import number
from glassesjax.report.numbers import MISSING, short
from proofs_numeric.verify.summary import Entry

HEADS = ("claim", "source", "tightness", "verdict", "counter-case", "certified")


def ledger_lines(entries: Sequence[Entry]) -> list[str]:
    """The ledger as aligned plain text, a line a claim.

    Args:
      entries: The claims to show.

    Returns:
      The lines, the heads first.
    """
    lines = [HEADS, *map(_line, entries)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    pad = lambda line: "  ".join(map(str.ljust, line, widths)).rstrip()
    return [pad(line) for line in lines]


def _line(entry: Entry) -> tuple[str, ...]:
    closing = entry.closing
    return (
        entry.claim.name,
        entry.claim.source,
        ratio(number(closing, "tightness")),
        str(closing.get("verdict", "cut off")).replace("_", " "),
        str(closing.get("counter_case", MISSING)),
        "yes" if closing.get("certified") else "no",
    )


def ratio(value: float | None) -> str:
    """A tightness with as many digits as tell it from one."""
    if value is None:
        return MISSING
    return f"{value:.3f}" if 0.001 <= abs(value) < 0.999 else f"{value:.6g}"


def claim_sentences(entry: Entry) -> list[str]:
    """What was measured of a claim, and how close it came.

    Args:
      entry: The claim with its rows.

    Returns:
      Plain text.
    """
    return [
        text for text in (_count(entry), _closest(entry), _attained(entry), _ascent(entry)) if text
    ]


def counter_sentences(entry: Entry) -> list[str]:
    """What happens without a hypothesis, a sentence a counter-case.

    Args:
      entry: The claim with its rows.

    Returns:
      Plain text with the numbers.
    """
    return [_counter(row) for row in entry.part("counter_case")]


def _count(entry: Entry) -> str:
    outside = sum(row["verdict"] == "not_applicable" for row in entry.tried)
    beside = f"; {outside} lie outside the hypotheses" if outside else ""
    return f"Holds in {len(entry.held)} of {len(entry.tried)} measurements{beside}."


def _closest(entry: Entry) -> str:
    row = entry.closest
    if row is None:
        return ""
    measured, bound = number(row, "measured"), number(row, "bound")
    slack = short(bound - measured) if bound is not None and measured is not None else MISSING
    pair = f"{short(measured)} against a bound of {short(bound)}, {ratio(number(row, 'tightness'))}"
    return f"Closest: {pair} of it, with a slack of {slack} ({_where(row)})."


def _attained(entry: Entry) -> str:
    rows = entry.attained
    if not rows:
        return ""
    worst = max(rows, key=lambda row: _deviation(row) / (number(row, "roundoff") or 1e-300))
    allowed = short(number(worst, "roundoff"))
    times = "once" if len(rows) == 1 else f"{len(rows)} times"
    gap = f"{short(_deviation(worst))} apart, where rounding alone may make {allowed}"
    return f"An equality {times}, to within rounding: the worst is {gap} ({_where(worst)})."


def _deviation(row: Row) -> float:
    return abs((number(row, "measured") or 0.0) - (number(row, "bound") or 0.0))


def _ascent(entry: Entry) -> str:
    row = entry.ascent
    if row is None:
        return "" if entry.part("adversary") else "No gradient ascent was run on it."
    found = ratio(number(row, "tightness"))
    return f"Gradient ascent came to {found} of the bound ({row['setting']})."


def _where(row: Row) -> str:
    part = "" if row["part"] == "ladder" else f"{row['part']}: "
    return f"{part}{row['setting']}"


def _counter(row: Row) -> str:
    end = (
        "it fails, as it must."
        if row["counter_case"] == "fails as it must"
        else "IT DOES NOT FAIL."
    )
    dropped = f"hypotheses as measured: {row['hypotheses_measured'] or 'none'}"
    return f"{row['setting']} ({dropped}). {_beyond(row)}: {end}"


def _beyond(row: Row) -> str:
    measured, bound = number(row, "measured"), number(row, "bound")
    floor, tightness = number(row, "floor"), number(row, "tightness")
    if measured is None or bound is None:
        return f"{short(measured).capitalize()} against {short(bound)}"
    if floor is not None and measured < floor:
        return f"{short(measured)}, where at least {short(floor)} is claimed"
    times = f", {short(tightness)} times as much" if tightness and tightness >= 1.05 else ""
    return f"{short(measured)} against a bound of {short(bound)}{times}"
