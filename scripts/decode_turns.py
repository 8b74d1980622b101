"""Sides of ``bench_decode.py`` take turns; each becomes a row."""

import statistics
from collections.abc import Sequence
from typing import Any, NamedTuple

from decode_runs import Run, matvec_run

Row = dict[str, Any]


class Side(NamedTuple):
    """Somebody who decodes."""

    name: str
    slots: int
    state_bytes: int
    run: Run


def take_turns(
    found: Sequence[Side], reads: int, batch: int, context: int, tokens: int, rounds: int
) -> list[Row]:
    """Tokens per second, and the share of the memory's pace in the same turns."""
    matvec, pace = matvec_run(reads), []
    rates: list[list[float]] = [[] for _ in found]
    for _ in range(rounds):
        pace.append(reads / matvec())
        for side, rate in zip(found, rates, strict=True):
            rate.append(tokens / side.run())
    rows = []
    for side, rate in zip(found, rates, strict=True):
        moved = reads + batch * side.state_bytes
        row = {"side": side.name, "slots": side.slots, "batch": batch, "context": context}
        for name, middle in (("", statistics.median), ("best_", max)):
            row[f"{name}tokens_per_second"] = batch * middle(rate)
            row[f"{name}matvec_share"] = middle(rate) * moved / middle(pace)
            if len(found) > 1:
                row[f"{name}first_over_this"] = middle(rates[0]) / middle(rate)
        row |= {"state_bytes": side.state_bytes, "weights_bytes": reads}
        rows.append(row | {"matvec_gb_per_second": statistics.median(pace) / 1e9})
        show(rows[-1])
    return rows


def show(row: Row) -> None:
    """One line of the printed table."""
    who = f"{row['side']:26} {row['slots']:5} slots  batch {row['batch']:3}"
    if row["tokens_per_second"] is None:
        print(f"{who}  {row['error']}", flush=True)
        return
    first = row.get("first_over_this")
    print(
        f"{who}  context {row['context']}  {row['tokens_per_second']:8.1f} tok/s"
        f"  state {row['state_bytes'] / 2**20:7.1f} MB  of matvec {row['matvec_share']:4.0%}"
        + ("" if first is None else f"  first/this {first:5.2f}"),
        flush=True,
    )
