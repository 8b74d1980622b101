"""Reasons why policies cannot be ranked on a model's text, by name; imports no JAX."""

from collections.abc import Mapping
from typing import Literal

Obstacle = Literal["random_weights", "random_digits"]

RANDOM_DIGITS = "random_digits"
"""The name of the text of a model that reads symbols, in rows."""
DIGITS = "random digits"
NOTHING = f"{DIGITS}: nothing predicts them, and no policy can be better than another"
OBSTACLES: Mapping[Obstacle, str] = {
    "random_weights": f"random weights on {NOTHING}",
    "random_digits": NOTHING,
}
"""Each as a phrase."""


def text_title(name: str) -> str:
    """Display title of a text.

    Args:
      name: The name in rows.

    Returns:
      The name itself, except for random digits.
    """
    return DIGITS if name == RANDOM_DIGITS else name


def unstated_obstacle(text: object, model: object) -> Obstacle | None:
    """Why policies cannot be ranked by the rows of an older run, whose rows have no such field.

    Args:
      text: The name of the text.
      model: The name of the model.

    Returns:
      The reason; None where policies can be ranked.
    """
    return "random_digits" if text in (DIGITS, RANDOM_DIGITS) or model == "toy" else None
