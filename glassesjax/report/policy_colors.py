"""The color of a policy, the same on the pages of all studies."""

import re

from glassesjax.cache.policies import SHORT

SCORES = {
    "full": "ink", SHORT: "c6", "truncated": "c6", "h2o": "c1", "window": "c2", "tova": "c3",
    "h2o_mean": "c4",
}  # fmt: skip
SINKS = "c5"  # a window that keeps the first tokens


def policy_color(policy: str) -> str:
    """The color token of a policy, by its score.

    Returns:
      The same for what a name adds to a score, but for first tokens that a window keeps.
    """
    if policy.startswith("window+"):
        return SINKS
    return SCORES.get(re.split(r"[-+@~]", policy)[0], "c4")
