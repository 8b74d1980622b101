"""The color of a policy, a prompt family and a number format: the same on every page."""

import re

from glassesjax.cache.policies import SHORT
from glassesjax.report.chart import SERIES_COLORS

POLICIES = {
    "full": "ink", SHORT: "c6", "truncated": "c6", "h2o": "c1", "window": "c2", "tova": "c3",
    "h2o_mean": "c4",
}  # fmt: skip
SINKS = "c5"  # a window that keeps the first tokens
FAMILIES = {
    "ones": "ink", "ones_zero": "c1", "ones_bos": "c2", "doubled_digits": "c3", "alternating": "c4",
    "separators_in_phase": "c5", "separators_confounded": "c6", "ones_text": "c3",
}  # fmt: skip
FORMATS = {
    "f64": "ink", "f32": "c1", "bf16": "c2", "f16": "c3", "e4m3fn": "c4", "e5m2": "c5",
    "tf32": "c6", "e2m1": "c6",
}  # fmt: skip
UNKNOWN = "c6"


def policy_color(policy: str) -> str:
    """The color token of a policy, by its score.

    Returns:
      The same for what a name adds to a score, but for first tokens that a window keeps.
    """
    if policy.startswith("window+"):
        return SINKS
    return POLICIES.get(re.split(r"[-+@~]", policy)[0], "c4")


def family_color(family: str) -> str:
    """The color token of a family of prompts."""
    return FAMILIES.get(family, UNKNOWN)


def format_color(format: str) -> str:
    """The color token of a number format.

    Returns:
      The same wherever it rounds; of a format without a name one by the bits of its mantissa.
    """
    name = re.split(r"[@*]", format.removeprefix("native-"))[0]
    bits = re.fullmatch(r"e\d+m(\d+)", name)
    other = SERIES_COLORS[int(bits[1]) % len(SERIES_COLORS)] if bits else UNKNOWN
    return FORMATS.get(name, other)


def series_of(format: str) -> str:
    """A format as the name of a series: what a format may have beside letters is replaced."""
    return re.sub(r"[^\w+-]", "_", format)
