"""What the rows of a bounded run say, in sentences, and where they contradict a statement."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from glassesjax.files import Row
from glassesjax.report.fields import integer, not_finite
from glassesjax.trace.shares import squared_shares

NORM = "l2"
# Both sides are float sums of a few thousand terms.
SLACK = 1e-4
RELATIVE = "relative_l1"  # the norm in which rounding has a scale of its own
ROUNDOFF = {"float32": 2.0**-24, "float64": 2.0**-53}


class Panel(NamedTuple):
    """What one line of a figure is of."""

    positions: str
    policy: str
    slots: int
    family: str

    @property
    def state(self) -> str:
        """The policy with its capacity."""
        return self.policy if self.policy == "full" else f"{self.policy} at {self.slots}"


def panels(rows: Sequence[Row], kind: str) -> Mapping[Panel, list[Row]]:
    """Rows of a kind by what they are of; of collapse, in one norm.

    Args:
      rows: Rows of the bounded study.
      kind: ``collapse`` or ``influence``.

    Returns:
      Rows in order of length or position.
    """
    found: dict[Panel, list[Row]] = {}
    for row in rows:
        if row["kind"] == kind and row.get("norm") in (NORM, None):
            key = Panel(
                str(row["positions"]),
                str(row["policy"]),
                integer(row, "slots"),
                str(row.get("family") or ""),
            )
            found.setdefault(key, []).append(row)
    order = "length" if kind == "collapse" else "position"
    ordered = {key: sorted(x, key=lambda row: integer(row, order)) for key, x in found.items()}
    return ordered if kind == "collapse" else {key: _shared(x) for key, x in ordered.items()}


def _shared(rows: list[Row]) -> list[Row]:
    """Rows of one text with their shares of squares, which earlier versions did not write."""
    if all("squared_share" in row for row in rows):
        return rows
    shares = squared_shares(np.array([number(row, "frobenius") for row in rows]))
    return [{**row, "squared_share": float(x)} for row, x in zip(rows, shares, strict=True)]


def number(row: Row, name: str) -> float:
    """A field as a number; NaN where it is null.

    Args:
      row: The row.
      name: The field.

    Returns:
      Its value.
    """
    value = row.get(name)
    return math.nan if value is None else float(value)


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
    return sum((number(row, "squared_share") for row in rows if not row["held_layers"]), 0.0)


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
    share = lambda group: sum((number(row, "squared_share") for row in group), 0.0)
    return [(len(group), share(group)) for group in groups]


def loudest_dropped(rows: Sequence[Row], most: int = 3) -> list[Row]:
    """Tokens that no layer holds any more with the most influence, if they have any.

    Args:
      rows: Of one panel.
      most: How many at most.

    Returns:
      Rows, the loudest first.
    """
    gone = [row for row in rows if not row["held_layers"] and number(row, "squared_share") > 0]
    return sorted(gone, key=lambda row: -number(row, "squared_share"))[:most]


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
    errors = [0.0 if none(row) else number(row, "standard_error") for row in rows[:2]]
    error = math.hypot(*errors)
    return number(rows[0], "frobenius") - number(rows[1], "frobenius") > 2 * error


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
        *map(_capital, contradictions(rows)),
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
        return f"differs by {number(last, 'distance'):.2g} at n = {last['length']}"
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
            f" ({number(row, 'squared_share'):.1%})"
            for row in most[:1]
            if leads(most)
        )
        first, last = (f"{number(mine[at], 'squared_share'):.1%}" for at in (0, -1))
        yield (
            f"Positions {panel.positions}, {panel.state}: {len(gone)} of {len(mine)} tokens are in"
            f" no layer any more, and carry {evicted_share(mine):.1%} of the squared"
            f" influence; {silent} have no path left; the first token has {first}, the last"
            f" {last}{loudest}."
        )


def contradictions(rows: Sequence[Row]) -> list[str]:
    """Where a statement that must hold does not.

    Args:
      rows: Rows of the bounded study.

    Returns:
      One line each.
    """
    return list(_broken(rows))


def coarsest(rows: Sequence[Row]) -> float:
    r"""What the resolution of a run may be at most, relative to a representation.

    .. math:: \min(1, L \cdot T \cdot d \cdot u)

    An error of one rounding for each term of the sums of a token's width and of all tokens, in each
    layer: where two computations differ by more, "equal" would say nothing.

    Args:
      rows: Of one model, in one arithmetic.

    Returns:
      A bound on ``resolution`` in relative L1.
    """
    row = rows[0]
    tokens = max(integer(row, "prompt_tokens") for row in rows) + 1
    sums = integer(row, "layers") * integer(row, "width") * tokens
    return min(1.0, sums * ROUNDOFF[str(row["dtype"])])


def _coarse(rows: Sequence[Row]) -> Iterator[str]:
    # Rows that are not finite are said to be so elsewhere; here they would pass for coarse.
    runs = [r for r in rows if r["kind"] == "collapse" and r.get("finite") is not False]
    for row in runs:
        found = number(row, "resolution")
        limit = coarsest(runs) if row["norm"] == RELATIVE else math.inf
        if not (math.isfinite(found) and found <= limit):
            name = f"{row['policy']} at {row['slots']}, {row['positions']}, {row['family']}"
            yield f"{name}: the resolution in {row['norm']} is too coarse to call runs equal"


def _broken(rows: Sequence[Row]) -> Iterator[str]:
    yield from dict.fromkeys(_coarse(rows))
    for panel, mine in panels(rows, "collapse").items():
        for row in mine:
            least = row.get("equal_from") if row.get("finite") is not False else None
            if least is not None and integer(row, "length") >= int(least) and not row["equal"]:
                yield f"{panel.state}, {panel.positions}: runs of {row['length']} must be equal"
    for panel, mine in panels(rows, "influence").items():
        for row in mine:
            over = math.log10(number(row, "spectral") or math.nan) - number(row, "log10_repaired")
            if over > SLACK:
                yield f"{panel.state}, {panel.positions}: the repaired bound is exceeded"
            if not row["reaches"] and number(row, "frobenius") > 0:
                yield f"{panel.state}, {panel.positions}: a token without a path is heard"
