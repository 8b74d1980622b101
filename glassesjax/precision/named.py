"""Rounding plans by name, as used by commands and rows."""

from collections.abc import Mapping

from glassesjax.errors import BadInput
from glassesjax.precision.formats import F32
from glassesjax.precision.integers import number_format
from glassesjax.precision.plan import RoundingPlan, Site

NATIVE = "native-"
GROUPS: Mapping[str, tuple[Site, ...]] = {
    **{site: (site,) for site in Site},
    "attention": (Site.ATTN_LOGITS, Site.ATTN_WEIGHTS),
    "passes": tuple(site for site in Site if site != Site.WEIGHTS),
}


def named_plan(text: str) -> RoundingPlan:
    """A rounding plan by name: ``FORMAT[@SITE[+SITE]...]``, or ``native-FORMAT``.

    ``bf16`` rounds everywhere, ``int4@weights`` only the weights, ``e4m3fn@passes`` all but the
    weights, and ``bf16@weights+residual+activations`` leaves attention and output in float32.
    ``f32`` rounds nowhere. ``native-bf16`` stores arrays of that dtype instead of rounding.

    Args:
      text: The name. Sites are those of ``RoundingPlan``, ``attention`` for logits and weights of
        the attention, and ``passes`` for all but the weights.

    Returns:
      The plan, its carrier float32.

    Raises:
      BadInput: There is no such format or site, or float32 does not contain the format.
    """
    name, at, sites = text.partition("@")
    try:
        if name.startswith(NATIVE) and not at:
            fmt = number_format(name.removeprefix(NATIVE))
            return RoundingPlan.everywhere(fmt, mode="native", carrier=F32)
        chosen = tuple(Site)
        if at:
            for word in (words := sites.split("+")):
                if word not in GROUPS:
                    known = ", ".join(GROUPS)
                    raise BadInput(f"Expected rounding sites out of {known}, got {word!r}.")
            chosen = tuple(site for word in words for site in GROUPS[word])
        if (fmt := number_format(name)) == F32:
            return RoundingPlan.wide()  # F32 is the carrier: nothing is rounded
        return RoundingPlan(**{site.value: fmt for site in chosen}, mode="simulated", carrier=F32)
    except BadInput:
        raise
    except ValueError as error:
        raise BadInput(
            f"Expected FORMAT, FORMAT@SITE or native-FORMAT; {text!r}: {error}"
        ) from None
