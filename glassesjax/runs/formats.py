"""Settings that name the arithmetic of a model's passes: types with their help, and checks."""

from collections.abc import Callable, Sequence
from typing import Annotated

import tyro

from glassesjax.errors import BadInput
from glassesjax.precision.arithmetic import model_plan, plan_name, rounds_passes
from glassesjax.precision.plan import RoundingPlan

GRAMMAR = (
    "f32, f64, bf16 or f16 as the backend computes; or rounded in float32:"
    " FORMAT[*SCALE][@SITE[+SITE]...] (bf16@all, e4m3fn@attn_weights), native-FORMAT, or a preset's"
    " name. docs/precision.md lists them."
)
# Type of a field with one plan, and of one with several.
Format = Annotated[str, tyro.conf.arg(help=f"Arithmetic of the passes: {GRAMMAR}")]
Formats = Annotated[
    tuple[str, ...],
    tyro.conf.arg(
        help=f"Arithmetics of the passes, one or more; all are compared with the first: {GRAMMAR}",
        aliases=("--format",),
    ),
]
ExactFormat = Annotated[
    str,
    tyro.conf.arg(
        help="Arithmetic of passes and derivatives: f32 or f64; or FORMAT[*SCALE]@weights"
        " (bf16@weights), which rounds the weights alone. docs/precision.md lists formats."
    ),
]
WHOLE = "use a format with a scale for each row at most, such as int8_channel"
EXACT = "use f32, f64 or FORMAT@weights, such as bf16@weights"


def checked_format(
    name: str,
    *,
    exact: bool = False,
    otherwise: str = "",
    what: str = "a --format",
    plan_of: Callable[[str], RoundingPlan] = model_plan,
) -> str:
    """The name that rows have for a plan.

    Args:
      name: As on the command line.
      exact: Whether derivatives or bounds are to be taken, which are those of passes that round
        nothing but the weights.
      otherwise: A remedy where that fails, beside another plan.
      what: The setting, for the message.
      plan_of: From a name to its plan.

    Raises:
      BadInput: There is no such plan, later tokens would move the rounding of earlier ones, or it
        rounds what must be exact.
    """
    plan = plan_of(name)
    if exact and rounds_passes(plan):
        expected = f"Expected {what} that rounds the weights alone, as derivatives and bounds need"
        raise BadInput(f"{expected}, got {name!r:.60}: {EXACT}{otherwise}.")
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
