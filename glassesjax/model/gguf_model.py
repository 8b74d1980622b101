"""Opens a GGUF file, or all parts of one, as another container of the families of folders."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from jax.sharding import Mesh

from glassesjax.errors import BadInput, brief
from glassesjax.model.families.table import FAMILIES
from glassesjax.model.filling import Read
from glassesjax.model.folder import StoredTensor
from glassesjax.model.folder_model import format_of, header_of
from glassesjax.model.gguf_families import ARCHITECTURES, read_architecture
from glassesjax.model.gguf_file import GgufTensors, kind_name, read_gguf
from glassesjax.model.gguf_keys import ARCHITECTURE, GgufKeys
from glassesjax.model.gguf_tokenizer import tokenizer_from_gguf
from glassesjax.model.language import ModelHeader
from glassesjax.model.placing import Placed, placed_in
from glassesjax.model.safetensors_file import Entry
from glassesjax.model.tokenizer import Tokenizer, TokenNumbersOnly

SPLIT = "split."
PART_NAME = re.compile(r"(?P<stem>.+)-(?P<part>\d{5})-of-(?P<count>\d{5})\.gguf")
MOST_PARTS = 1024


class GgufModel(NamedTuple):
    """A file, or all parts of a split one, whose headers are validated."""

    folder: Path
    """The file, or the first part."""
    metadata: Mapping[str, Any]
    files: tuple[Path, ...]
    tensors: Mapping[str, StoredTensor]
    stored: Mapping[Path, GgufTensors]
    """Tensors of each file."""

    def reader(self) -> Read:
        """A function that gives a tensor by its name, from the mapped files."""
        return lambda name: self.stored[self.tensors[name].path].rows(name)


def read_gguf_model(path: Path) -> GgufModel:
    """Reads the headers of a file and of its other parts.

    Args:
      path: The file; of a split one, its first part.

    Raises:
      BadInput: A file is missing, damaged, of another model, or holds what is no weight.
    """
    metadata, tensors = read_gguf(path)
    stored = {path: tensors}
    total = _split_number(path, metadata, "count", 1)
    if total > 1:
        stored |= {other: _part(other, path, metadata) for other in _others(path, metadata, total)}
    every: dict[str, StoredTensor] = {}
    for file, its in stored.items():
        for name, entry in its.entries.items():
            if name in every:
                got = f"{brief(name)} in {every[name].path.name} and {file.name}"
                raise _foreign_part("each tensor in one part", got)
            size = entry.row_bytes
            for length in entry.shape[:-1]:
                size *= length
            kind = kind_name(name, entry)
            every[name] = StoredTensor(file, Entry(kind, entry.shape, entry.offset, size))
    wanted = _split_number(path, metadata, "tensors.count", len(every))
    if len(every) != wanted:
        raise _foreign_part(f"{wanted} tensors in all parts of {path}", f"{len(every)}")
    return GgufModel(path, metadata, tuple(stored), every, stored)


def place_gguf(model: GgufModel) -> Placed:
    """Compares a file's tensors with what its keys need.

    Args:
      model: Its headers.

    Raises:
      BadInput: The architecture or a key is not supported, or a tensor is missing, unknown or of
        another shape.
    """
    metadata, where = model.metadata, str(model.folder)
    if (kind := metadata.get("general.type", "model")) != "model":
        raise BadInput(f"Expected a GGUF that is a model, got {brief(kind)}: use another file.")
    name = metadata.get(ARCHITECTURE)
    row = ARCHITECTURES.get(name) if isinstance(name, str) else None
    if row is None:
        expected = f"Expected a GGUF of an architecture out of {', '.join(ARCHITECTURES)}"
        raise BadInput(f"{expected}, got {brief(name)}: use another file.")
    shapes = {name: tensor.entry.shape for name, tensor in model.tensors.items()}
    constant = lambda name: model.stored[model.tensors[name].path][name]
    keys = GgufKeys(metadata, str(name), shapes, constant)
    reading = read_architecture(keys, row, where)
    family = FAMILIES[row.family]
    return placed_in(model, family, reading, where=where, read=keys.constants)


def gguf_tokenizer(model: GgufModel, placed: Placed) -> Tokenizer:
    """The tokenizer of a file; one of token numbers where the file has none.

    Args:
      model: Its headers.
      placed: Its decoder.

    Raises:
      BadInput: The tokenizer is refused, or has not one token for each row of the table.
    """
    rows = placed.config.vocab_size
    if not any(key.startswith("tokenizer.") for key in model.metadata):
        return TokenNumbersOnly(f"{model.folder.name} has no tokenizer")
    return tokenizer_from_gguf(model.metadata, rows)


def gguf_header(
    path: Path,
    *,
    dtype: Any = None,  # noqa: ANN401  (a name, a type or a dtype)
    mesh: Mesh | None,
) -> ModelHeader:
    """The header of a model in a GGUF file, without reading weights.

    Args:
      path: The file; of a split one, its first part.
      dtype: Of the weights; float32 if absent, unless all of the file are of one type of 16 bits.
      mesh: Devices that share the weights; None for the default device.

    Raises:
      BadInput: The file is refused, or the dtype is not available.
    """
    if dtype is not None:
        format_of(dtype)  # before a header is read
    model = read_gguf_model(path)
    placed = place_gguf(model)
    tokenizer = gguf_tokenizer(model, placed)
    return header_of(model, placed, tokenizer, model.reader, dtype=dtype, mesh=mesh)


def _split_number(path: Path, metadata: Mapping[str, Any], key: str, default: int) -> int:
    value = metadata.get(f"{SPLIT}{key}", default)
    if type(value) is not int or value < 0:
        raise _foreign_part(f"a whole number {SPLIT}{key} in {path}", brief(value))
    return value


def _others(path: Path, metadata: Mapping[str, Any], total: int) -> list[Path]:
    """The other parts of a model whose first part this is."""
    name = PART_NAME.fullmatch(path.name)
    part = _split_number(path, metadata, "no", 0)
    if total > MOST_PARTS or name is None or int(name["count"]) != total:
        expected = f"a name as MODEL-00001-of-{total:05}.gguf"
        raise _foreign_part(expected, f"{path}, a part of a model in {total} files")
    named = lambda number: path.with_name(f"{name['stem']}-{number:05}-of-{total:05}.gguf")
    if part != 0 or int(name["part"]) != 1:
        first = named(1)
        got = f"part {part + 1} of {total} in {path}"
        raise BadInput(f"Expected the first part of a split GGUF file, got {got}: open {first}.")
    others = [named(number) for number in range(2, total + 1)]
    if missing := [other for other in others if not other.exists()]:
        expected = f"Expected {total} parts of a split GGUF file"
        raise BadInput(f"{expected}, got no {missing[0]}: download it as well.")
    return others


def _part(path: Path, first: Path, metadata: Mapping[str, Any]) -> GgufTensors:
    """The tensors of another part, which repeats no key of the first with another value."""
    pairs, tensors = read_gguf(path)
    number = int(path.name.rsplit("-of-", 1)[0].rsplit("-", 1)[1]) - 1
    wanted = {**metadata, f"{SPLIT}no": number}
    for key in (f"{SPLIT}no", f"{SPLIT}count", f"{SPLIT}tensors.count", *pairs):
        if key not in wanted or brief(pairs.get(key)) != brief(wanted[key]):
            got = f"{path} with {brief(key)} = {brief(pairs.get(key))}"
            raise _foreign_part(f"parts of the model of {first}", got)
    return tensors


def _foreign_part(expected: str, got: str) -> BadInput:
    return BadInput(f"Expected {expected}, got {got}: copy all parts of the model again.")
