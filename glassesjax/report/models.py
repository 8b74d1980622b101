"""What pages call a model."""

from pathlib import PurePath


def model_name(model: str) -> str:
    """A model's name in a sentence: of a file, the file's."""
    return {"toy": "the toy decoder", "smollm2": "SmolLM2"}.get(model, PurePath(model).name)


def arithmetic_facts(dtype: str | None, rounding: str | None) -> list[str]:
    """How passes were computed, for the head of a page.

    Args:
      dtype: Of the arrays; None where rows differ.
      rounding: Name of the rounding plan; ``none`` or None where there is none.

    Returns:
      The parts that are known.
    """
    return [*filter(None, [dtype]), *([rounding] if rounding not in ("none", None) else [])]
