"""What the rows of a bounded run say, in sentences."""

import math
from collections.abc import Iterator, Sequence

from glassesjax.files import Row
from glassesjax.report.fields import integer, measured, not_finite
from glassesjax.studies.bounded.panels import panels
from glassesjax.studies.bounded.verdicts import statement_violations


def first_equal(rows: Sequence[Row]) -> int | None:
    """The shortest measured length from which all are equal.

    Args:
      rows: Of one panel, ascending.

    Returns:
      The length; None where the longest is not equal.
    """
    equal = None
    for row in reversed(rows):
        if not row["equal"]:
            break
        equal = integer(row, "length")
    return equal


def evicted_share(rows: Sequence[Row]) -> float:
    """Share of the influence of tokens that the last query sees in no layer.

    Args:
      rows: Of one panel.

    Returns:
      A share of one.
    """
    return sum((measured(row, "squared_share") for row in rows if not row["held_layers"]), 0.0)


def held_shares(rows: Sequence[Row]) -> list[tuple[int, float]]:
    """Influence by the share of layers in which the last query still sees the token.

    Args:
      rows: Of one panel.

    Returns:
      How many tokens, and their share of the influence: in no layer, then in up to a quarter, half,
      three quarters and all of them.
    """
    quarter = lambda row: -(-4 * integer(row, "held_layers") // integer(row, "layers"))
    groups = [[row for row in rows if quarter(row) == wanted] for wanted in range(5)]
    share = lambda group: sum((measured(row, "squared_share") for row in group), 0.0)
    return [(len(group), share(group)) for group in groups]


def loudest_dropped(rows: Sequence[Row], most: int = 3) -> list[Row]:
    """Tokens that no layer holds any more with the most influence, if they have any.

    Args:
      rows: Of one panel.
      most: How many at most.

    Returns:
      Rows, the loudest first.
    """
    gone = [row for row in rows if not row["held_layers"] and measured(row, "squared_share") > 0]
    return sorted(gone, key=lambda row: -measured(row, "squared_share"))[:most]


def leads(rows: Sequence[Row]) -> bool:
    """Whether the first of some rows has more influence than the second, beyond sampling error.

    Args:
      rows: With the most influence first; of random probes with standard errors.

    Returns:
      Whether they are apart by over two standard errors of their difference; exact norms are if
      they differ at all.
    """
    if len(rows) < 2:
        return len(rows) == 1
    # Exact norms have no error; an estimate whose error is null tells nothing apart.
    none = lambda row: row.get("standard_error") is None and row.get("probes") is None
    errors = [0.0 if none(row) else measured(row, "standard_error") for row in rows[:2]]
    error = math.hypot(*errors)
    return measured(rows[0], "frobenius") - measured(rows[1], "frobenius") > 2 * error


def bounded_headlines(rows: Sequence[Row]) -> list[str]:
    """What the rows say.

    Args:
      rows: Rows of the bounded study.

    Returns:
      Sentences.
    """
    return [
        *not_finite(rows),
        *_collapse(rows),
        *_influence(rows),
        *map(_capital, statement_violations(rows)),
    ]


def _capital(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def _collapse(rows: Sequence[Row]) -> Iterator[str]:
    groups: dict[tuple[str, str], list[str]] = {}
    for panel, mine in panels(rows, "collapse").items():
        said = f"{panel.state} {_ends(mine)}"
        groups.setdefault((panel.positions, panel.family), []).append(said)
    for (positions, family), said in groups.items():
        yield f"Positions {positions}, {family}: {'; '.join(said)}."


def _ends(rows: Sequence[Row]) -> str:
    equal, last = first_equal(rows), rows[-1]
    if bad := sum(row.get("finite") is False for row in rows):
        return f"is not finite, in {bad} of {len(rows)} lengths"
    if equal is None:
        return f"differs by {measured(last, 'distance'):.2g} at n = {last['length']}"
    least = last.get("equal_from")
    least = f" (must from {least})" if least is not None else ""
    return f"equal from n = {equal}{least}"


def _influence(rows: Sequence[Row]) -> Iterator[str]:
    for panel, mine in panels(rows, "influence").items():
        if bad := sum(row.get("finite") is False for row in mine):
            count = f"{bad} of {len(mine)} tokens"
            yield f"Positions {panel.positions}, {panel.state}: not finite, in {count}."
            continue
        gone = [row for row in mine if not row["held_layers"]]
        silent = sum(not row["reaches"] for row in mine)
        most = loudest_dropped(mine, 2)
        loudest = "".join(
            f"; of those in no layer {row['token_text']!r} at {row['position']} has the most"
            f" ({measured(row, 'squared_share'):.1%})"
            for row in most[:1]
            if leads(most)
        )
        first, last = (f"{measured(mine[at], 'squared_share'):.1%}" for at in (0, -1))
        yield (
            f"Positions {panel.positions}, {panel.state}: {len(gone)} of {len(mine)} tokens are in"
            f" no layer any more, and carry {evicted_share(mine):.1%} of the squared"
            f" influence; {silent} have no path left; the first token has {first}, the last"
            f" {last}{loudest}."
        )
