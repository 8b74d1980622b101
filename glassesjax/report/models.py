"""What pages call a model."""

from pathlib import PurePath


def model_name(model: str) -> str:
    """A model's name in a sentence: of a file, the file's."""
    return {"toy": "the toy decoder", "smollm2": "SmolLM2"}.get(model, PurePath(model).name)
