"""Names of packaged models and texts, and their distinction from paths."""

import os
from collections.abc import Callable, Collection
from pathlib import Path

from glassesjax.errors import BadInput

PACKAGED = "packaged:"  # before a name that a file or folder has as well


def packaged_name(
    name: str, known: Collection[str], what: str, *, is_one: Callable[[Path], bool]
) -> str | None:
    """The name of a packaged item, or None for a path.

    Args:
      name: As given by the user.
      known: All names of packaged items.
      what: Kind of item, for the message.
      is_one: Whether an existing path could be meant, too.

    Returns:
      The name without ``packaged:``.

    Raises:
      BadInput: The name is ambiguous, or unknown after ``packaged:``.
    """
    if name.startswith(PACKAGED):
        if (bare := name.removeprefix(PACKAGED)) not in known:
            raise BadInput(f"Expected {PACKAGED} before one of {', '.join(known)}; got {bare!r}.")
        return bare
    if name not in known:
        return None
    if is_one(Path(name)):
        raise BadInput(
            f"Expected one {what} named {name}, got two, of the package and in this folder: "
            f"write {PACKAGED}{name} or .{os.sep}{name}."
        )
    return name
