"""Reads a safetensors file: a validated header, and its tensors as views of the mapped file.

The file begins with the length of a JSON object in eight bytes, least significant first; the object
has each tensor's dtype, shape, and first and last byte after the header. Source: the format's
specification (safetensors 0.4 and later). Every number is compared with the size of the file before
anything of that size is read.
"""

import json
import math
import mmap
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from glassesjax.errors import BadInput, brief
from glassesjax.files import json_object, reason, regular_file

MOST_HEADER = 1 << 24  # bytes, three times that of a model of ten thousand tensors
MOST_TENSORS = 1 << 16
MOST_DIMENSIONS = 8
LENGTH = 8  # bytes of the header's length
METADATA = "__metadata__"
# A half surrogate as an escape or as bytes; as an escape perhaps one of a pair.
SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]|\xed[\xa0-\xbf]")
FLOATS: Mapping[str, np.dtype] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype(ml_dtypes.bfloat16),
}
# Bits of a number of the other types: such tensors are measured but never read.
BITS = {
    **{"BOOL": 8, "U8": 8, "I8": 8, "I16": 16, "U16": 16, "I32": 32, "U32": 32, "I64": 64},
    **{"U64": 64, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6},
    **{"C64": 64, **{name: 8 * dtype.itemsize for name, dtype in FLOATS.items()}},
}


class Entry(NamedTuple):
    """A tensor of the file."""

    dtype: str
    """Its name in the format, such as ``BF16``."""
    shape: tuple[int, ...]
    """Outermost axis first."""
    start: int
    """Offset of its first byte in the file."""
    size: int
    """Number of bytes."""


class Header(NamedTuple):
    """Names of a file's tensors, and its metadata."""

    entries: dict[str, Entry]
    metadata: dict[str, str]


def read_tensor(path: Path, data: mmap.mmap, name: str, entry: Entry) -> np.ndarray:
    """One tensor as a view of the mapped file.

    Args:
      path: Of the file, for the message.
      data: The mapped file.
      name: Of the tensor, for the message.
      entry: Its entry in the validated header.

    Raises:
      BadInput: It holds no floating-point numbers of 16 bits or more.
    """
    if entry.dtype not in FLOATS:
        expected = f"Expected weights of {', '.join(FLOATS)}"
        raise BadInput(f"{expected}, got {entry.dtype} in {brief(name)} of {path}: convert it.")
    dtype = FLOATS[entry.dtype]
    # Bytes first: the file need not align its numbers.
    flat = np.frombuffer(data, np.uint8, entry.size, entry.start)
    return flat.view(dtype).reshape(entry.shape)


def map_safetensors(path: Path) -> mmap.mmap:
    """Maps a file into memory, read-only.

    Raises:
      BadInput: It cannot be read.
    """
    try:
        with path.open("rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:
        got = f"{path}, which cannot be read ({reason(error)})"
        raise BadInput(f"Expected a safetensors file, got {got}: choose another.") from error


def read_safetensors_header(path: Path) -> Header:
    """Reads and validates the header of a file.

    Args:
      path: The file.

    Returns:
      Its tensors in the order of their bytes, and its metadata.

    Raises:
      BadInput: The file is missing, truncated, damaged or foreign.
    """
    size = regular_file(path, "a safetensors file")
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(LENGTH), "little")
            most = min(size - LENGTH, MOST_HEADER)
            if not 0 < length <= most:
                raise _broken(path, f"names a header of {length} bytes out of 1 to {max(0, most)}")
            text = file.read(length)
    except OSError as error:
        raise _broken(path, f"cannot be read ({reason(error)})") from error
    try:
        record = parse_json(text)
    except ValueError as error:
        raise _broken(path, f"has a header that is no JSON ({reason(error)})") from error
    return _header(path, record, LENGTH + length, size)


def parse_json(text: bytes | str) -> dict[str, Any]:
    """Parses a JSON object of a model, strictly.

    Raises:
      ValueError: It is no JSON object, has a key twice, a number that is none (``NaN``) or is too
        long, a text that is no UTF-8, or is nested too deeply.
    """

    def no_number(text: str) -> float:
        raise ValueError(f"the number {text}")

    record = json_object(text, no_number)
    check_surrogates(text, record)
    return record


def check_surrogates(text: bytes | str, record: Any) -> None:  # noqa: ANN401
    """Raises an error for half surrogates, which no path, tokenizer or terminal accepts.

    Args:
      text: Of JSON.
      record: What it parses to.

    Raises:
      ValueError: A string in it has one.
    """
    content = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    if not SURROGATE.search(content):
        return
    try:
        json.dumps(record, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        letter = brief(error.object[error.start])
        raise ValueError(f"a text that is no UTF-8, with {letter}") from error


def _header(path: Path, record: dict[str, Any], start: int, size: int) -> Header:
    metadata = record.pop(METADATA, {})
    plain = isinstance(metadata, dict) and all(isinstance(x, str) for x in metadata.values())
    if not plain:
        raise _broken(path, f"has metadata that is no text by name: {brief(metadata)}")
    if len(record) > MOST_TENSORS:
        raise _broken(path, f"has {len(record)} tensors, more than {MOST_TENSORS}")
    entries = {name: _entry(path, name, value, start, size) for name, value in record.items()}
    ordered = dict(sorted(entries.items(), key=lambda item: (item[1].start, item[1].size)))
    # The format has no gaps: a byte of no tensor, or of two, means a wrong offset.
    at = start
    for name, entry in ordered.items():
        if entry.start != at:
            fault = "overlaps another" if entry.start < at else "leaves a gap before it"
            raise _broken(path, f"has a tensor {brief(name)} that {fault}")
        at += entry.size
    if at != size:
        raise _broken(path, f"has {size} bytes where its tensors end at byte {at}")
    return Header(ordered, metadata)


def _entry(path: Path, name: str, value: object, start: int, size: int) -> Entry:
    what = f"the tensor {brief(name)}"
    if not isinstance(value, dict) or value.keys() != {"dtype", "shape", "data_offsets"}:
        raise _broken(path, f"has {what} without dtype, shape and data_offsets")
    dtype, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    if not isinstance(dtype, str) or dtype not in BITS:
        raise _broken(path, f"has {what} of unknown dtype {brief(dtype)}")
    sizes = isinstance(shape, list) and len(shape) <= MOST_DIMENSIONS
    if not sizes or not all(type(n) is int and 0 <= n <= size * 8 for n in shape):
        raise _broken(path, f"has {what} of shape {brief(shape)}")
    pair = isinstance(offsets, list) and len(offsets) == 2
    if not pair or not all(type(n) is int for n in offsets):
        raise _broken(path, f"has {what} at offsets {brief(offsets)}")
    first, last = offsets
    if not 0 <= first <= last <= size - start:
        raise _broken(path, f"has {what} at bytes {first} to {last} of {size - start}")
    if 8 * (last - first) != math.prod(shape) * BITS[dtype]:
        counts = f"{last - first} bytes for {shape} of {dtype}"
        raise _broken(path, f"has {what} with {counts}")
    return Entry(dtype, tuple(shape), start + first, last - first)


def _broken(path: Path, fault: str) -> BadInput:
    expected = "Expected a whole safetensors file"
    return BadInput(f"{expected}, got {path}, which {fault}: copy it again or choose another.")
