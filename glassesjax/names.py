"""Names that the package knows, beside paths of the same name."""

import os
from collections.abc import Callable, Collection
from pathlib import Path

from glassesjax.errors import BadInput

PACKAGED = "packaged:"  # before a name that a file or folder has as well


def packaged_name(
    name: str, known: Collection[str], what: str, *, is_one: Callable[[Path], bool]
) -> str | None:
    """The name of something in the package, or None for what can only be a path.

    Args:
      name: As a user wrote it.
      known: All names of the package.
      what: What is named, for the message.
      is_one: Whether a path may be meant as such a thing, too.

    Returns:
      The name without ``packaged:``.

    Raises:
      BadInput: The name has two meanings here, or stands behind ``packaged:`` and is unknown.
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
