"""The arithmetic of a model's passes by name, for commands that measure a model."""

from glassesjax.borders import border
from glassesjax.precision.format_names import number_format
from glassesjax.precision.formats import BF16, F16, F32, F64, FloatFormat
from glassesjax.precision.named import NATIVE, named_plan
from glassesjax.precision.plan import WEIGHT_SITES, RoundingPlan
from glassesjax.precision.scaled import Codes, NumberFormat, ScaledFormat
from glassesjax.precision.sums import Accumulator

BACKEND = tuple(fmt.name for fmt in (F32, F64, BF16, F16))
"""Names that alone are the backend's own arithmetic."""


@border()
def model_plan(text: str) -> RoundingPlan:
    """The plan of a model's passes, by name.

    ``f32``, ``f64``, ``bf16`` and ``f16`` alone are the backend's own arithmetic in that dtype.
    Every other name is that of ``named_plan``, rounded in float32; ``bf16@all`` is the simulated
    bf16.

    Args:
      text: The name.

    Returns:
      The plan.

    Raises:
      BadInput: There is no such plan; with the nearest name.
    """
    match _format(text):
        case FloatFormat() as fmt if fmt in (F32, F64):
            return RoundingPlan.wide(fmt)
        case FloatFormat() as fmt if fmt in (BF16, F16):
            return RoundingPlan.everywhere(fmt, mode="native")
    return named_plan(text)


@border()
def plan_name(text: str) -> str:
    """The name that rows have for a plan: its format under its own name.

    Args:
      text: A name as for ``model_plan``, of which nothing is checked.

    Returns:
      The same name for all common names of a format, in each part of it.
    """
    return ",".join(map(_part_name, text.split(",")))


def _part_name(text: str) -> str:
    name, at, sites = text.partition("@")
    native = NATIVE if name.startswith(NATIVE) else ""
    fmt = _format(name.removeprefix(native))
    return text if fmt is None else f"{native}{fmt.name}{at}{sites}"


def rounds_passes(plan: RoundingPlan) -> bool:
    """Whether a plan rounds anything but the weights.

    Args:
      plan: Any plan.

    Returns:
      False also where a site has the format of the carrier itself.
    """
    return any(fmt != plan.carrier for fmt in _in_pass(plan))


def passes_error(plan: RoundingPlan) -> float:
    """The largest ``relative_error`` of what a pass stores; the carrier's where that is nothing.

    Args:
      plan: Any plan; its weights do not count.
    """
    return max(map(relative_error, _in_pass(plan)), default=plan.carrier.unit_roundoff)


def relative_error(fmt: NumberFormat | Accumulator) -> float:
    """Largest error of a stored value, over the value or, of codes, over the largest code.

    Args:
      fmt: Any format, or a sum's accumulator, of which one rounding counts.

    Returns:
      The unit roundoff of a float format, and half a step of an integer one over its range.
    """
    match fmt:
        case FloatFormat():
            return fmt.unit_roundoff
        case Accumulator():
            return fmt.fmt.unit_roundoff
        case ScaledFormat():
            element = fmt.element
            codes = isinstance(element, Codes)
            return 0.5 / element.max_code if codes else element.unit_roundoff


def _in_pass(plan: RoundingPlan) -> list[NumberFormat | Accumulator]:
    """What the plan and those of its layers round in a pass: all but the weights."""
    every = [each.rounded for each in (plan, *plan.layers)]
    return [fmt for rounded in every for site, fmt in rounded.items() if site not in WEIGHT_SITES]


def coarsest_error(plan: RoundingPlan) -> float:
    """The largest ``relative_error`` of what a plan stores; the carrier's where it rounds nowhere.

    Args:
      plan: Any plan.
    """
    every = [fmt for each in (plan, *plan.layers) for fmt in each.rounded.values()]
    return max(map(relative_error, every), default=plan.carrier.unit_roundoff)


def _format(name: str) -> NumberFormat | None:
    try:
        return number_format(name)
    except ValueError:
        return None
