"""What in the ledger decides exit status 1."""

from collections.abc import Sequence

from glassesjax.files import Row

MEASURED = ("ladder", "adversary", "certified")  # parts, each of which must apply somewhere


def violations(rows: Sequence[Row]) -> list[str]:
    """What in a ledger is not as it must be, a line each; empty for a ledger that stands.

    A closing row repeats what its claim's rows say, so that it is not counted again.

    Args:
      rows: Rows of the ledger.

    Returns:
      The lines, in the order of the rows.
    """
    closed = {row["claim"] for row in rows if row["part"] == "closing"}
    cut = dict.fromkeys(str(row["claim"]) for row in rows if row["claim"] not in closed)
    lines = [f"{claim}: was cut off before its closing row" for claim in cut]
    measured = [row for row in rows if row["part"] in MEASURED]
    decided = {(r["claim"], r["part"]) for r in measured if r["verdict"] != "not_applicable"}
    idle = dict.fromkeys(
        (r["claim"], r["part"]) for r in measured if (r["claim"], r["part"]) not in decided
    )
    lines += [f"{claim}: nothing of its {part} met the hypotheses" for claim, part in idle]
    for row in rows:
        name = f"{row['claim']} ({row['part']}, {row['setting']})"
        if row["part"] == "closing":
            if not row["measurements"]:
                lines.append(f"{row['claim']}: no measurement")
            if not row["counter_cases"]:
                lines.append(f"{row['claim']}: no counter-case")
        elif row["verdict"] == "violated":
            lines.append(f"{name}: violated, {row['measured']} against {row['bound']}")
        elif str(row["hypotheses"]).startswith("unmeasured"):
            lines.append(f"{name}: a hypothesis could not be measured, {row['hypotheses']}")
        elif row["counter_case"] == "does not fail":
            lines.append(f"{name}: a counter-case that does not fail")
        elif row["part"] == "certified" and row["verdict"] != "holds":
            lines.append(f"{name}: not certified, {row['hypotheses']}")
    return lines
