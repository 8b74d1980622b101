"""What must not be in the rows of a study of a model, whichever study it is."""

from collections.abc import Iterable


def unfinite(finite: Iterable[object]) -> list[str]:
    """What to say of a model whose unrounded pass is not finite.

    Args:
      finite: Of each row whether that pass is, as the study's rows say it; None where one says
        nothing, as of a number format, where what overflows is a result and no failure.

    Returns:
      One line, or none.
    """
    known = [value for value in finite if value is not None]
    bad = known.count(False)
    return [f"the unrounded pass is not finite, in {bad} of {len(known)} rows"] if bad else []
