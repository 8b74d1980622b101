"""Error messages for rows that the run may not have written."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from glassesjax.errors import BadInput
from glassesjax.files import reason


@contextlib.contextmanager
def blaming_unmarked(path: Path, *, unmarked: bool) -> Iterator[None]:
    """Turns an error into ``BadInput`` where a file has rows that the run may not have written.

    Args:
      path: The rows.
      unmarked: Whether there are such rows; if not, an error is a bug and stays as it is.

    Raises:
      BadInput: The block has failed, and there are such rows.
    """
    try:
        yield
    except (BadInput, OSError, MemoryError):
        raise
    except Exception as error:
        if not unmarked:
            raise
        got = f"{type(error).__name__} ({reason(error):.100})"
        expected = f"Expected rows as this study writes them in {path}"
        raise BadInput(
            f"{expected}, got {got} from these: restore them, or choose another --out."
        ) from error
