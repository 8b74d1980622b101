"""Where a command writes, looked at before a model is opened: nothing is left there."""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from glassesjax.errors import BadInput
from glassesjax.files import check_local, check_name, regular_file, writing
from glassesjax.runs.folder import check_run


def check_save(path: Path, flag: str) -> None:
    """Refuses a file that cannot be written, by beginning one beside it that goes at once.

    Args:
      path: Where it is to go; a file already there will be replaced.
      flag: Which names it.

    Raises:
      BadInput: It is a folder or no regular file, there is no folder for it, or it cannot be made.
      NoRoom: The disk is full.
    """
    check_local(path)
    check_name(path, flag)
    if os.path.lexists(path):
        regular_file(path, f"a file for {flag}")
    expected = f"a file for {flag} that can be written"
    with (
        writing(expected, path, f"choose another {flag}"),
        tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", suffix=".part"),
    ):
        pass


def check_out(out: Path, known: Mapping[str, object]) -> None:
    """Refuses a run folder that cannot be made, or that holds something else than this run.

    Args:
      out: The run folder; a path that ``check_local`` and ``check_name`` let through.
      known: What fixes the run as far as it is known without its model.

    Raises:
      BadInput: Another file stands in the way, nothing may be written there, or it is another
        run's.
      NoRoom: The disk is full.
    """
    nearest = next((path for path in (out, *out.parents) if os.path.lexists(path)), Path())
    expected = "a run folder that can be made"
    if not nearest.is_dir():
        got = f"{out}, where {nearest} is no folder"
        raise BadInput(f"Expected {expected}, got {got}: choose another --out.")
    if nearest == out:
        check_run(out, known)
    # A run that enters there meanwhile takes it for scrap, and may remove it, which is no error.
    with (
        writing(expected, out),
        tempfile.TemporaryDirectory(dir=nearest, prefix=".", suffix=".part"),
    ):
        pass
