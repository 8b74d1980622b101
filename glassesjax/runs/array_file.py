"""``arrays.npz`` of a run folder: what was measured token by token or step by step.

A row names its arrays and says what they are (``record.Stored``). The file appears whole, before
the rows that name what is new in it: a process that is killed in between leaves arrays that no row
names, and the next write leaves them out.
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
from glassesjax.runs.record import Member, members

if TYPE_CHECKING:
    from numpy.lib.npyio import NpzFile

ARRAYS = "arrays.npz"

Arrays = Mapping[str, NumPyArray]
"""By the name that a row has."""
_HEADERS = {(1, 0): "read_array_header_1_0", (2, 0): "read_array_header_2_0"}


class StoredArrays(Mapping[str, NumPyArray]):
    """The arrays that the rows of a folder name, each read when it is asked for.

    Args:
      path: The file; read when the first array is asked for.
      rows: Records, some of which may name arrays.

    Raises:
      BadInput: On asking for an array: the file is not there or damaged, or has no such array.
    """

    def __init__(self, path: Path, rows: Iterable[Any]) -> None:
        self.path = path
        self._members = {member.name: member for row in rows for member in members(row)}

    def __getitem__(self, name: str) -> NumPyArray:
        member = self._members[name]
        try:
            got = self._unlike(member)
            if not got:
                return self._file[name]
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

    def _unlike(self, member: Member) -> str:
        """What is there, by its header alone, where it is another array than the row states."""
        import numpy as np

        if not self.path.exists():
            return "no such file"
        if member.name not in self._names:
            return "none"
        with cast(ZipFile, self._file.zip).open(f"{member.name}.npy") as file:
            read = getattr(np.lib.format, _HEADERS[np.lib.format.read_magic(file)])
            shape, _, dtype = read(file)
        same = str(dtype) in member.dtypes and shape == member.shape
        return "" if same else f"one of {escaped(dtype):.40} and shape {shape!s:.40}"

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
    """The arrays of a run that is being filled.

    Args:
      path: The file; made with the first array.
      rows: The records that are in the run already.

    Raises:
      BadInput: One of these names an array that is not there or damaged.
    """

    def __init__(self, path: Path, rows: Iterable[Any]) -> None:
        self.path = path
        self._arrays = dict(StoredArrays(path, rows))

    def add(self, rows: Collection[Any], arrays: Arrays) -> None:
        """Writes the arrays of further rows, and waits until they are on disk.

        Args:
          rows: Records that are in the run from now on.
          arrays: By the names that these have; others are passed over.

        Raises:
          TypeError: One is of another type or shape than its row says: whoever made it is wrong.
          OSError: The file cannot be written; it is then as it was.
        """
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
    """Arrays as a file, whole or not at all; equal arrays give equal bytes.

    Args:
      path: Where it goes.
      arrays: By name; an order of their own makes no difference.

    Raises:
      OSError: It cannot be written.
    """
    import numpy as np

    content: dict[str, Any] = {name: arrays[name] for name in sorted(arrays)}
    with written_by_rename(path) as file:
        np.savez(file, allow_pickle=False, **content)
