"""Reads metadata and weights of a GGUF file, de-quantized by the ``gguf`` package."""

import mmap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from glassesjax.errors import MODELS_WANTED, BadInput
from glassesjax.model.filling import Rows
from glassesjax.model.gguf_header import TensorEntry, map_file, read_header
from glassesjax.model.safetensors_file import FLOATS

NUMBERS = ("F64", "I8", "I16", "I32", "I64")  # tensor types that are no model weights
PLAIN = ("F32", "F16", "BF16")  # numbers as they are


class GgufTensors(Mapping):
    """The tensors of a file, each read and de-quantized on lookup.

    Its items have no types: run-time checks would look them all up.

    Attributes:
      entries: Where each lies in the file, by name, with its shape.
    """

    def __init__(self, data: mmap.mmap, entries: Mapping[str, TensorEntry]) -> None:
        self.entries = entries
        self._data = data

    def rows(self, name: str) -> Rows:
        """One tensor as it is stored, a view of the file.

        Args:
          name: As in the file.

        Raises:
          KeyError: There is no such tensor.
          BadInput: It is of a kind that cannot be de-quantized.
        """
        entry = self.entries[name]
        kind = kind_name(name, entry)
        # The header is checked: the bytes are there, and rows are whole blocks.
        outer = entry.shape[:-1]
        size = int(np.prod(outer, dtype=np.int64)) * entry.row_bytes
        # (outer * row_bytes) of bytes, no copy; a row of bytes gives a row of weights
        packed = np.frombuffer(self._data, np.uint8, size, entry.offset)
        if kind in PLAIN:
            return Rows(packed.view(FLOATS[kind]).reshape(entry.shape))
        packed = packed.reshape(*outer, entry.row_bytes)
        # A vector is one row, which no layout could divide.
        return Rows(_unpacked(packed, kind)) if not outer else Rows(packed, _unpacking(kind))

    def __getitem__(self, name: str) -> np.ndarray:
        """One tensor.

        Args:
          name: As in the file.

        Returns:
          Float32, outermost axis first; a new array each time.

        Raises:
          KeyError: There is no such tensor.
          BadInput: It is of a kind that cannot be de-quantized, or holds NaN or infinity.
        """
        weights = self.rows(name).numbers
        if not np.isfinite(weights).all():
            got = f"NaN or infinity in {name}"
            raise BadInput(f"Expected finite weights in the GGUF file, got {got}: use another.")
        # A float32 tensor is a view of the mapped file: copy it.
        return weights.astype(np.float32)

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)


def kind_name(name: str, entry: TensorEntry) -> str:
    """The name of a tensor's quantization, such as ``Q4_K``.

    Args:
      name: Of the tensor, for the message.
      entry: Its entry in the header.

    Raises:
      BadInput: It cannot be de-quantized.
    """
    gguf = _gguf()
    kind = gguf.GGMLQuantizationType(entry.kind)
    expected = "Expected a GGUF file of weights that can be de-quantized to float32"
    refusal = f"{expected}, got {name} of type {kind.name}: convert the model to another type."
    if kind.name in NUMBERS:
        raise BadInput(refusal)
    try:
        if kind.name not in PLAIN:
            block = np.zeros((1, gguf.GGML_QUANT_SIZES[kind][1]), np.uint8)
            _unpacked(block, kind.name)
    except NotImplementedError as error:  # of a kind that the package only names
        raise BadInput(refusal) from error
    return kind.name


def _unpacking(kind: str) -> Any:  # noqa: ANN401  (a function of one argument)
    return lambda packed: _unpacked(packed, kind)


def _unpacked(packed: np.ndarray, kind: str) -> np.ndarray:
    gguf = _gguf()
    # Scales of damaged blocks overflow; numbers are checked where they are used.
    with np.errstate(all="ignore"):
        return gguf.quants.dequantize(packed, gguf.GGMLQuantizationType[kind])


def read_gguf(path: Path) -> tuple[dict[str, Any], GgufTensors]:
    """Key-value pairs and de-quantized tensors of a GGUF file.

    Args:
      path: The file; of a split model, one part.

    Returns:
      Pairs by key, arrays of numbers as numpy arrays; and float32 arrays by tensor name, outermost
      axis first, each read and de-quantized where it is looked up.

    Raises:
      BadInput: The file is missing, truncated, damaged or foreign, or ``gguf`` is not installed.
    """
    gguf = _gguf()
    data = map_file(path)  # weights are paged in where they are looked up
    header = read_header(data, str(path), gguf.GGML_QUANT_SIZES)
    return header.metadata, GgufTensors(data, header.tensors)


def _gguf() -> Any:  # noqa: ANN401
    try:
        import gguf
    except ImportError as error:
        raise BadInput(MODELS_WANTED) from error
    return gguf
