"""``arrays.npz`` of a run folder: measured values per token or per step.

A row has the names of its arrays; ``record.Stored`` declares their dtype and axes. The file is
replaced atomically, before the rows that name its new arrays: a process killed in between leaves
arrays that no row names, which the next write drops.
"""

import functools
import io
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from zipfile import ZipFile

from glassesjax.arrays import NumPyArray
from glassesjax.errors import BadInput, escaped
from glassesjax.files import reason, regular_file, written_by_rename
from glassesjax.runs.record import members

if TYPE_CHECKING:
    from numpy.lib.npyio import NpzFile

ARRAYS = "arrays.npz"

Arrays = Mapping[str, NumPyArray]
"""Arrays by the name that a row has."""
_HEADERS = {(1, 0): "read_array_header_1_0", (2, 0): "read_array_header_2_0"}


class StoredArrays(Mapping[str, NumPyArray]):
    """The arrays that the rows of a folder name, each read on access.

    Args:
      path: The file; read on the first access.
      rows: Records, some of which may name arrays.

    Raises:
      BadInput: On access: the file is missing or damaged, or has no such array.
    """

    def __init__(self, path: Path, rows: Iterable[Any]) -> None:
        self.path = path
        self._members = {member.name: member for row in rows for member in members(row)}

    def __getitem__(self, name: str) -> NumPyArray:
        import numpy as np

        member, got = self._members[name], ""
        try:
            if not self.path.exists():
                got = "no such file"
            elif name not in self._names:
                got = "none"
            else:
                # The header alone, before memory is taken for what it declares.
                with cast(ZipFile, self._file.zip).open(f"{name}.npy") as file:
                    read = getattr(np.lib.format, _HEADERS[np.lib.format.read_magic(file)])
                    shape, _, dtype = read(file)
                if str(dtype) in member.dtypes and shape == member.shape:
                    return self._file[name]
                got = f"one of {escaped(dtype):.40} and shape {shape!s:.40}"
        except BadInput:
            raise
        except Exception as error:  # whatever NumPy and zipfile make of damaged bytes
            got = f"none that can be read ({escaped(reason(error)):.100})"
        of = f"an array of {' or '.join(member.dtypes)} and shape {member.shape}"
        expected = f"Expected {of} as {name!r:.80} in {self.path}"
        raise BadInput(f"{expected}, got {got}: restore it, or choose another --out.")

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)

    @functools.cached_property
    def _names(self) -> frozenset[str]:
        return frozenset(self._file.files)

    @functools.cached_property
    def _file(self) -> "NpzFile":
        import numpy as np

        regular_file(self.path, "the arrays of a run")
        # Its bytes: nothing is to be closed, and another process may replace the file.
        return np.load(io.BytesIO(self.path.read_bytes()), allow_pickle=False)


class ArrayFile:
    """Writer of the arrays of a run in progress.

    Args:
      path: The file; made with the first array.
      rows: The records already in the run.

    Raises:
      BadInput: One of these names an array that is missing or damaged.
    """

    def __init__(self, path: Path, rows: Iterable[Any]) -> None:
        self.path = path
        self._arrays = dict(StoredArrays(path, rows))

    def add(self, rows: Collection[Any], arrays: Arrays) -> None:
        """Writes the arrays of further rows; they are on disk (fsync) on return.

        Args:
          rows: New records of the run.
          arrays: By the names in these rows; others are ignored.

        Raises:
          TypeError: An array differs from its row in dtype or shape: a bug of the study.
          OSError: The file cannot be written; it is then unchanged.
        """
        # All are checked before one is written: a file is written as a whole or not at all.
        named = [member for row in rows for member in members(row)]
        for member in named:
            array = arrays[member.name]
            if str(array.dtype) not in member.dtypes or array.shape != member.shape:
                of = f"an array of {' or '.join(member.dtypes)} and shape {member.shape}"
                got = f"one of {array.dtype} and shape {array.shape}"
                raise TypeError(f"Expected {of} as {member.name!r:.80}, got {got}.")
        new = {member.name: arrays[member.name] for member in named}
        if new:
            self._arrays |= new
            write_arrays(self.path, self._arrays)


def write_arrays(path: Path, arrays: Arrays) -> None:
    """Writes arrays to a file atomically; equal arrays give equal bytes.

    Args:
      path: Where it goes.
      arrays: By name; their order has no effect.

    Raises:
      OSError: It cannot be written.
    """
    import numpy as np

    # By name, so that their order in the file does not depend on that of measuring.
    content: dict[str, Any] = {name: arrays[name] for name in sorted(arrays)}
    with written_by_rename(path) as file:
        np.savez(file, allow_pickle=False, **content)
