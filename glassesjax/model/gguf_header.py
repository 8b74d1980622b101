"""Parses the header of a GGUF file: key-value pairs and the tensor table, with bounds checks.

Every length and count is compared with the bytes that are left before anything is read or
allocated, so that a damaged file costs no more than a whole one. Source: the GGUF specification of
ggml, versions 2 and 3.
"""

import math
import mmap
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from glassesjax.errors import BadInput, brief
from glassesjax.files import regular_file

MAGIC = b"GGUF"
VERSIONS = (2, 3)
ALIGNMENT = 32  # bytes, where a file names no other
MOST_DIMENSIONS = 4
# Limits of a header, three times those of the largest vocabularies of 2026: a sparse file can claim
# any size.
MOST_BYTES = 1 << 25
MOST_STRINGS = 1 << 20  # of all arrays together
MOST_ENTRIES = 1 << 14  # key-value pairs, and tensors

# Type numbers of values: the code of ``struct``, which numpy reads as well.
SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 10: "Q", 11: "q", 12: "d"}
BOOLEAN, STRING, ARRAY = 7, 8, 9

LEAST_PAIR = 8 + 4 + 1  # bytes of an empty key, of its type, and of the shortest value
LEAST_TENSOR = 8 + 4 + 4 + 8  # an empty name, the number of dimensions, type and offset
_LENGTH = struct.Struct("<Q")


class TensorEntry(NamedTuple):
    """Type, shape and offset of a tensor in the file."""

    kind: int
    """Number of its quantization, as ``gguf.GGMLQuantizationType`` has it."""
    shape: tuple[int, ...]
    """Outermost axis first, in weights."""
    offset: int
    """Of its first byte in the file."""
    row_bytes: int
    """Bytes of one row, the innermost axis."""


class GgufHeader(NamedTuple):
    """The metadata and the tensor table of a file."""

    version: int
    metadata: dict[str, Any]
    """Numbers, booleans, strings, lists of strings, and numpy arrays of numbers or booleans."""
    tensors: dict[str, TensorEntry]
    """By name, in the order of the file."""


def map_file(path: Path) -> mmap.mmap:
    """Maps a file into memory, read-only.

    Args:
      path: The file.

    Returns:
      A read-only map.

    Raises:
      BadInput: The file is missing, is no regular file, or does not begin as GGUF does.
    """
    regular_file(path, "a GGUF file")
    try:
        with path.open("rb") as file:
            magic = file.read(len(MAGIC))
            if magic == MAGIC:
                return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        got = f"{path}, which cannot be read ({error.strerror})"
        raise BadInput(f"Expected a GGUF file, got {got}: choose another.") from error
    got = f"{path}, which starts with {magic!r} and not with {MAGIC!r}"
    raise BadInput(f"Expected a GGUF file, got {got}: choose another.")


def read_header(
    data: mmap.mmap | bytes, name: str, block_sizes: Mapping[Any, tuple[int, int]]
) -> GgufHeader:
    """Parses the header of a file.

    Args:
      data: The whole file; only the header and the padding behind each tensor are read.
      name: Of the file, for messages.
      block_sizes: For each kind of quantization, the weights of a block and its bytes:
        ``gguf.GGML_QUANT_SIZES``.

    Returns:
      The pairs and the tensors.

    Raises:
      BadInput: The file is truncated or damaged, or of another byte order or version.
    """
    reader = _Reader(data, name)
    if data[: len(MAGIC)] != MAGIC:
        raise reader.broken(f"starts with {data[: len(MAGIC)]!r} and not with {MAGIC!r}")
    reader.at = len(MAGIC)
    version = reader.number("I", "its version")
    if version and version & 0xFFFF == 0:  # a small version in the other byte order
        got = f"{name} with the most significant byte first"
        remedy = f"gguf-convert-endian {name} little"
        raise BadInput(f"Expected a little-endian GGUF file, got {got}: {remedy}")
    if version not in VERSIONS:
        got = f"version {version} in {name}"
        expected = f"Expected a GGUF file of version {' or '.join(map(str, VERSIONS))}"
        raise BadInput(f"{expected}, got {got}: convert it again.")
    # The number of tensors comes before the pairs, the tensor table after them.
    num_tensors = reader.count(LEAST_TENSOR, "tensors", most=MOST_ENTRIES)
    metadata = _pairs(reader)
    # llama.cpp requires a power of two, the specification does not.
    alignment = metadata.get("general.alignment", ALIGNMENT)
    if type(alignment) is not int or alignment <= 0 or alignment % 8:
        expected = "Expected a positive multiple of 8 as general.alignment of the GGUF file"
        raise BadInput(f"{expected}, got {brief(alignment)}: convert the model again.")
    entries = _tensor_table(reader, num_tensors, block_sizes)
    # Weights begin at the next aligned byte after the table, rounded up.
    start = -(-reader.at // alignment) * alignment
    return GgufHeader(version, metadata, _placed(reader, entries, start, alignment, block_sizes))


def _pairs(reader: "_Reader") -> dict[str, Any]:
    metadata: dict[str, Any] = {}
    for index in range(reader.count(LEAST_PAIR, "key-value pairs", most=MOST_ENTRIES)):
        key = reader.string(f"the key of pair {index}")
        if key in metadata:
            raise reader.broken(f"has the key {brief(key)} twice")
        metadata[key] = reader.value(f"the value of {brief(key)}")
    return metadata


class _Row(NamedTuple):
    """An entry of the tensor table as stored in the file."""

    name: str
    kind: int
    shape: tuple[int, ...]
    offset: int


def _tensor_table(
    reader: "_Reader", count: int, block_sizes: Mapping[Any, tuple[int, int]]
) -> list[_Row]:
    rows: dict[str, _Row] = {}
    for index in range(count):
        name = reader.string(f"the name of tensor {index}")
        if name in rows:
            raise reader.broken(f"has the tensor {brief(name)} twice")
        entry = f"the entry of tensor {brief(name)}"
        if (rank := reader.number("I", entry)) > MOST_DIMENSIONS:
            raise reader.broken(f"has {rank} dimensions in {entry}")
        # ggml lists the innermost axis first.
        shape = tuple(reader.number("Q", entry) for _ in range(rank))[::-1]
        kind, offset = reader.number("I", entry), reader.number("Q", entry)
        if kind not in block_sizes:
            raise reader.broken(f"has the unknown type {kind} in {entry}")
        rows[name] = _Row(name, kind, shape, offset)
    return list(rows.values())


def _placed(
    reader: "_Reader",
    rows: list[_Row],
    start: int,
    alignment: int,
    block_sizes: Mapping[Any, tuple[int, int]],
) -> dict[str, TensorEntry]:
    """Tensors follow each other in the order of the table, each at the next aligned byte.

    Any other offset, also one beyond 2^63 that would overflow a 64-bit sum into the header, points
    to bytes of something else.
    """
    placed, gaps, end, expected, size = {}, [], 0, 0, len(reader.data)
    for name, kind, shape, offset in rows:
        # Quantized weights come in blocks along a row; none spans two rows.
        block, block_bytes = block_sizes[kind]
        row = shape[-1] if shape else 1
        if row % block or 0 in shape:
            fault = "no weights" if 0 in shape else f"rows of {row} weights in blocks of {block}"
            raise reader.broken(f"has the tensor {brief(name)} with {fault}")
        if offset != expected:
            fault = f"at byte {offset} of the weights where {expected} follows"
            raise reader.broken(
                f"has the tensor {brief(name)} {fault}: they overlap or leave a gap"
            )
        row_bytes = row // block * block_bytes
        total = math.prod(shape[:-1]) * row_bytes
        # Python integers do not overflow; sizes of the file may be near 2^64.
        if start + offset + total > size:
            fault = f"end at byte {start + offset + total} of {size}"
            raise reader.broken(f"lets the tensor {brief(name)} {fault}")
        placed[name] = TensorEntry(kind, shape, start + offset, row_bytes)
        end, expected = offset + total, expected + -(-total // alignment) * alignment
        gaps.append((name, start + end, start + expected))
    # Bytes that are lost or added move all that is behind them; some writers leave the padding of
    # the last tensor out.
    if placed and size not in (start + end, start + expected):
        fault = f"has {size} bytes where its last tensor ends at byte {start + end}"
        raise reader.broken(f"{fault}, or padded at {start + expected}")
    for name, end, following in gaps:
        # Of a tensor whose kind was changed to a narrower one the rest of its numbers lies there.
        if reader.data[end:following].strip(b"\0"):
            fault = "behind which there are other bytes than zeros before the next begins"
            raise reader.broken(f"has the tensor {brief(name)}, {fault}")
    return placed


class _Reader:
    """A position in the header that never moves beyond the file's end."""

    def __init__(self, data: mmap.mmap | bytes, name: str) -> None:
        self.data, self.name, self.at = data, name, 0
        self.size = min(len(data), MOST_BYTES)
        self.strings_left = MOST_STRINGS

    def broken(self, fault: str) -> BadInput:
        return BadInput(
            f"Expected a whole GGUF file, got {self.name}, which {fault}: copy or convert it again."
        )

    def take(self, size: int, what: str) -> int:
        """Advances by ``size`` bytes; returns where they begin."""
        # Compared with what is left, so that no sum with a size of the file is needed.
        start, left = self.at, self.size - self.at
        if size > left:
            raise self.broken(f"needs {size} bytes for {what} and has {left}")
        self.at = start + size
        return start

    def number(self, code: str, what: str) -> Any:  # noqa: ANN401  (an int or a float)
        layout = f"<{code}"  # little-endian, unpadded
        return struct.unpack_from(layout, self.data, self.take(struct.calcsize(layout), what))[0]

    def count(self, least: int, what: str, *, most: int | None = None) -> int:
        """Reads a number of items, of which each takes at least ``least`` bytes."""
        number, left = self.number("Q", f"its number of {what}"), self.size - self.at
        # Against the bytes that are left: no list is made for items that cannot be there.
        if number * least > left:
            raise self.broken(f"names {number} {what} and has {left} bytes of header for them")
        if most is not None and number > most:
            raise self.broken(f"names {number} {what}, more than {most}")
        return number

    def string(self, what: str) -> str:
        return self.strings(1, what)[0]

    def strings(self, count: int, what: str) -> list[str]:
        """Reads ``count`` strings, with few temporary objects, since vocabularies are long."""
        data, at, size = self.data, self.at, self.size
        unpack, strings = _LENGTH.unpack_from, []
        try:
            for _ in range(count):
                (length,) = unpack(data, at)
                start, at = at + 8, at + 8 + length
                if at > size:
                    raise self.broken(f"has {size - start} bytes for {length} of {what}")
                strings.append(str(data[start:at], "utf-8"))
        except struct.error as error:
            raise self.broken(f"ends within {what}") from error
        except UnicodeDecodeError as error:
            raise self.broken(f"has bytes that are no UTF-8 in {what}") from error
        self.at = at
        return strings

    def value(self, what: str) -> Any:  # noqa: ANN401  (any type of the file)
        kind = self.number("I", what)
        if kind in SCALARS:
            return self.number(SCALARS[kind], what)
        if kind == BOOLEAN:
            return bool(self.booleans(1, what)[0])
        if kind == STRING:
            return self.string(what)
        if kind == ARRAY:
            return self.array(what)
        raise self.broken(f"has the unknown type {kind} for {what}")

    def booleans(self, count: int, what: str) -> np.ndarray:
        array = self.numbers("B", count, what)
        # Another byte would be no valid bool of NumPy once viewed as one.
        if array.max(initial=0) > 1:
            raise self.broken(f"has a boolean that is neither 0 nor 1 in {what}")
        return array.view(bool)

    def numbers(self, code: str, count: int, what: str) -> np.ndarray:
        dtype = np.dtype(f"<{code}")
        start = self.take(count * dtype.itemsize, what)
        # A copy: a view would keep the file mapped while the metadata is alive.
        return np.frombuffer(self.data, dtype, count, start).copy()

    def array(self, what: str) -> list[str] | np.ndarray:
        kind = self.number("I", what)
        if kind == STRING:
            count = self.count(8, f"strings in {what}", most=self.strings_left)
            self.strings_left -= count  # a limit of all arrays together
            return self.strings(count, what)
        if kind == ARRAY:
            raise self.broken(f"nests arrays in {what}, which no model needs")
        if kind != BOOLEAN and kind not in SCALARS:
            raise self.broken(f"has the unknown type {kind} in the array of {what}")
        if kind == BOOLEAN:
            return self.booleans(self.count(1, f"booleans in {what}"), what)
        layout = SCALARS[kind]
        return self.numbers(layout, self.count(struct.calcsize(f"<{layout}"), what), what)
