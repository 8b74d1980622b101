"""Where trained decoders contradict the statements that they are compared with."""

from collections.abc import Sequence

from glassesjax.files import Row
from glassesjax.report.fields import measured
from glassesjax.runs.verdicts import passes
from glassesjax.studies.train.failing_cells import setting_of
from glassesjax.studies.train.heard_cells import decoder_name


def violations(rows: Sequence[Row]) -> list[str]:
    """What makes a run fail.

    Args:
      rows: Of one or more runs of the train study.

    Returns:
      One line where the unrounded pass is not finite, and one for each certificate or ratio that
      the rows contradict.
    """
    bad = passes(row.get("finite") for row in rows).failures
    return [*bad, *failing_violations(rows), *ratio_violations(rows)]


def failing_violations(rows: Sequence[Row]) -> list[str]:
    """Where a certificate says one token and the arithmetic that it speaks of gives two.

    Args:
      rows: Of one or more runs of the train study.

    Returns:
      One line each.
    """
    return [
        f"{setting_of(row)}, seed {row['seed']}, {row['format']}: a certificate is contradicted at"
        f" n = {row['length']}"
        for row in rows
        if row["kind"] == "twins" and row["contradicted"]
    ]


def ratio_violations(rows: Sequence[Row]) -> list[str]:
    """Where more than a ratio is told, and no rounding explains it, though the hypotheses hold.

    Args:
      rows: Of one or more runs of the train study.

    Returns:
      One line each: an item and its repetition further apart than rounding carries them, or an
      accuracy over the best that a ratio gives, counting no answer that rounding may have chosen.
    """
    held = [row for row in rows if row["kind"] in ("ratio", "repeated") and row["applies"]]
    return [*filter(None, map(_contradicted, held))]


def _contradicted(row: Row) -> str:
    if row["kind"] == "repeated" and row["within_roundoff"] is False:
        return (
            f"{decoder_name(row)}: repetitions of {row['length']} tokens are"
            f" {measured(row, 'apart'):.2g} apart, where rounding allows"
            f" {measured(row, 'roundoff'):.2g}"
        )
    # Rows of earlier versions do not have this field.
    if row["kind"] == "ratio" and row.get("beyond_roundoff"):
        return (
            f"{decoder_name(row)}: {measured(row, 'accuracy'):.2%} of all items are counted,"
            f" where a ratio gives {measured(row, 'ratio_only'):.2%} at best"
        )
    return ""
