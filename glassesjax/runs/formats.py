"""Settings that name the arithmetic of a model's passes: types with their help, and checks."""

from collections.abc import Callable, Sequence
from typing import Annotated

import tyro

from glassesjax.errors import BadInput
from glassesjax.precision.arithmetic import model_plan, plan_name
from glassesjax.precision.formats import F16, FORMATS
from glassesjax.precision.named import GRAMMAR as NAMED
from glassesjax.precision.named import GROUPS
from glassesjax.precision.plan import RoundingPlan
from glassesjax.precision.presets import PRESETS

PLANS = (
    f"{NAMED} (bf16@all, e4m3fn@attn_weights). FORMAT: {', '.join(FORMATS)} or eXmY (bits of"
    f" exponent and mantissa), int8 and others with a scale; alone it rounds all that is stored."
    f" SITE: {', '.join(GROUPS)}. Presets: {', '.join(PRESETS)}. More: docs/precision.md."
)
GRAMMAR = f"f32, f64, bf16 or f16 as the backend computes; or rounded in float32: {PLANS}"
COMPARED = "one or more; all are compared with the first"
# Type of a field with one plan, and of one with several.
Format = Annotated[str, tyro.conf.arg(help=f"Arithmetic of the passes: {GRAMMAR}")]
Formats = Annotated[
    tuple[str, ...],
    tyro.conf.arg(help=f"Arithmetics of the passes, {COMPARED}: {GRAMMAR}", aliases=("--format",)),
]
WHOLE = "use a format with a scale for each row at most, such as int8_channel"


def checked_format(
    name: str,
    *,
    derived: bool = False,
    otherwise: str = "",
    what: str = "a --format",
    plan_of: Callable[[str], RoundingPlan] = model_plan,
) -> str:
    """The name that rows have for a plan.

    Args:
      name: As on the command line.
      derived: Whether derivatives are to be taken. Arrays of float16 round them too, and numbers
        below 2^-24 to zero.
      otherwise: A remedy where that fails, beside another plan.
      what: The setting, for the message.
      plan_of: From a name to its plan.

    Raises:
      BadInput: There is no such plan, later tokens would move the rounding of earlier ones, or
        derivatives would underflow.
    """
    plan = plan_of(name)
    if derived and plan.mode == "native" and plan.dtype == F16.dtype:
        expected = f"Expected {what} whose derivatives do not underflow, as those in float16 do"
        raise BadInput(f"{expected}, got {name!r:.60}: use f16@all{otherwise}.")
    if not plan.row_wise:
        expected = f"Expected {what} that rounds each token by itself"
        raise BadInput(f"{expected}, got {name!r:.60}, with one scale for all tokens: {WHOLE}.")
    return plan_name(name)


def checked_formats(
    names: Sequence[str], *, plan_of: Callable[[str], RoundingPlan] = model_plan
) -> tuple[str, ...]:
    """The names that rows have for several plans, in their order.

    Args:
      names: As on the command line.
      plan_of: From a name to its plan.

    Raises:
      BadInput: There is none, one of them as for ``checked_format``, or two name one plan.
    """
    if not names:
        raise BadInput("Expected one or more different --formats, got none: name one.")
    read: dict[RoundingPlan, str] = {}
    formats = []
    for name in names:
        formats.append(checked_format(name, what="each of --formats as a plan", plan_of=plan_of))
        other = read.setdefault(plan_of(name), name)
        if len(read) < len(formats):
            both = f"{other!r:.60} twice" if other == name else f"{other} and {name}, one plan"
            raise BadInput(f"Expected different --formats, got {both}: leave one out.")
    return tuple(formats)


def rounding_name(plan: RoundingPlan) -> str:
    """The field ``rounding`` of a row.

    Args:
      plan: Of the pass.

    Returns:
      The plan's name; ``none`` where nothing is rounded but by the dtype of the arrays.
    """
    return plan.name if plan.mode == "simulated" else "none"
