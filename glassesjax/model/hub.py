"""Finds a model of the hub in the local cache of the hub's own library, without a download."""

import re
from pathlib import Path

from glassesjax.errors import BadInput

NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")


def cached_folder(name: str) -> Path | None:
    """The folder of a model of the hub, or None where the text is no such name.

    Args:
      name: Such as ``org/name``.

    Raises:
      BadInput: The model is not in the cache, or the hub's library is not installed.
    """
    if not NAME.fullmatch(name) or name.count("..") or name.endswith((".gguf", ".safetensors")):
        return None
    expected = "Expected a path, or a model in the local cache of huggingface_hub"
    command = f"hf download {name}"
    try:
        from huggingface_hub import try_to_load_from_cache
        from huggingface_hub.errors import HFValidationError
    except ImportError as error:
        got = f"{name!r}, and the package is not installed"
        remedy = f"pip install huggingface_hub; {command}"
        raise BadInput(f"{expected}, got {got}: {remedy}") from error
    try:
        config = try_to_load_from_cache(name, "config.json")
    except HFValidationError:
        return None
    if not isinstance(config, str):  # None, or a mark that the file is known not to exist
        raise BadInput(f"{expected}, got {name!r}, which is neither: {command}")
    return Path(config).parent
