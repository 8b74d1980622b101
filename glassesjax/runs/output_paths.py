"""Checks of a command's output paths before a model is opened; they leave no files."""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from glassesjax.errors import BadInput
from glassesjax.files import check_local, check_name, regular_file, writing
from glassesjax.runs.folder import check_run


def check_save(path: Path, flag: str) -> None:
    """Raises an error for an output file that cannot be written; tries a temporary file beside it.

    Args:
      path: The output file; an existing one will be replaced.
      flag: The flag with its name.

    Raises:
      BadInput: It is a folder or no regular file, its folder is missing, or it cannot be made.
      DiskFull: The disk is full.
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
    """Raises an error for a run folder that cannot be made, or that has other content.

    Args:
      out: The run folder; a path accepted by ``check_local`` and ``check_name``.
      known: The settings of the run that are known without its model.

    Raises:
      BadInput: The path leads through a file, is not writable, or has another run.
      DiskFull: The disk is full.
    """
    nearest = next((path for path in (out, *out.parents) if os.path.lexists(path)), Path())
    expected = "a run folder that can be made"
    if not nearest.is_dir():
        got = f"{out}, where {nearest} is no folder"
        raise BadInput(f"Expected {expected}, got {got}: choose another --out.")
    if nearest == out:
        check_run(out, known)
    # Another run there may remove the temporary folder meanwhile, which is no error.
    with (
        writing(expected, out),
        tempfile.TemporaryDirectory(dir=nearest, prefix=".", suffix=".part"),
    ):
        pass
