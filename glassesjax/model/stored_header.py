"""Parses and validates the header of a stored decoder before a weight is read.

A safetensors file begins with the length of a JSON object in eight bytes, least significant first;
the object has each weight's dtype and shape, and the metadata of ``save_decoder``.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from glassesjax.errors import BadInput, brief
from glassesjax.files import json_object, reason, regular_file
from glassesjax.model.config import DecoderConfig
from glassesjax.model.stored_config import config_of
from glassesjax.model.weights import check_shapes
from glassesjax.precision import NumberFormat, number_format

KIND, HEADER = "decoder 1", "glassesjax"
MOST_HEADER = 1 << 22  # bytes: a vocabulary of some hundred thousand symbols
MOST_LAYERS = 1000  # a decoder is put together layer by layer, in milliseconds each
TYPES = ("F16", "F32", "F64")
_LENGTH = 8


class StoredHeader(NamedTuple):
    """Settings, vocabulary and source of a stored decoder."""

    config: DecoderConfig
    symbols: tuple[str, ...]
    source: dict[str, str]
    stored_as: NumberFormat | None


def read_header(path: Path) -> StoredHeader:
    """Reads the header of a file and validates its weights' names, shapes and dtypes.

    Args:
      path: A file of ``save_decoder``.

    Returns:
      The header.

    Raises:
      BadInput: The file is missing, or no regular one.
      ValueError: It is truncated or foreign; the message has the expected and the actual value.
    """
    try:
        left = regular_file(path, "a trained model") - _LENGTH
        with path.open("rb") as file:
            # Compared with the file's size before anything of that length is read.
            length, most = int.from_bytes(file.read(_LENGTH), "little"), min(left, MOST_HEADER)
            if not 0 < length <= most:
                raise ValueError(f"Expected a header of 1 to {max(0, most)} bytes, got {length}")
            text = file.read(length)
    except OSError as error:
        got = f"{path}, which cannot be read ({error.strerror})"
        raise BadInput(f"Expected a trained model, got {got}: choose another.") from error
    header = _json(text, "its header")
    record = header.pop("__metadata__", None)
    if not isinstance(record, dict) or not isinstance(record.get(HEADER), str):
        raise ValueError(f"Expected metadata under {HEADER!r}, got none")
    record = _json(record[HEADER], f"its metadata under {HEADER!r}")
    if record.get("kind") != KIND:
        raise ValueError(f"Expected its kind as {KIND!r}, got {brief(record.get('kind'))}")
    for name, kind in (("config", dict), ("symbols", list), ("source", dict)):
        if not isinstance(record.get(name), kind):
            words = "a list" if kind is list else "an object"
            raise ValueError(f"Expected its {name} as {words}, got {brief(record.get(name))}")
    config = config_of(record["config"])
    # Before anything is made layer by layer.
    if config.num_layers > MOST_LAYERS:
        raise ValueError(f"Expected at most {MOST_LAYERS} layers, got {config.num_layers}")
    _check_weights(header, config)
    check_symbols(record["symbols"], config.vocab_size)
    check_source(record["source"])
    stored_as = record.get("stored_as")  # absent where weights are of their dtype's format
    try:
        name = stored_as if isinstance(stored_as, str) else ""
        mark = None if stored_as is None else number_format(name)
    except ValueError as error:
        expected = "Expected stored_as as the name of a number format"
        raise ValueError(f"{expected}, got {brief(stored_as)}") from error
    return StoredHeader(config, tuple(record["symbols"]), record["source"], mark)


def _json(text: str | bytes, what: str) -> dict[str, Any]:
    try:
        return json_object(text)
    except ValueError as error:  # also bytes that are no UTF-8
        raise ValueError(f"Expected {what} as an object of JSON, got {reason(error)}") from error


def _check_weights(entries: Mapping[str, Any], config: DecoderConfig) -> None:
    """Validates that the weights fit the settings, and are floats of one dtype."""
    # Dtypes of a file have names of safetensors; ``bool`` is an int to isinstance, not to type.
    shapes, types = {}, []
    for name, entry in entries.items():
        shape = entry.get("shape") if isinstance(entry, dict) else None
        if not isinstance(shape, list) or not all(type(size) is int for size in shape):
            raise ValueError(f"Expected a shape of {brief(name)}, got {brief(entry)}")
        if (kind := entry.get("dtype")) not in TYPES:
            expected = f"Expected {brief(name)} of a type out of {', '.join(TYPES)}"
            raise ValueError(f"{expected}, got {brief(kind)}")
        shapes[name] = tuple(shape)
        types.append(kind)
    check_shapes(config, shapes)
    if len(set(types)) > 1:
        raise ValueError(f"Expected weights of one type, got {' and '.join(sorted(set(types)))}")


def check_symbols(symbols: Sequence[object], vocab_size: int) -> None:
    """Validates a vocabulary: each token has one text, all different.

    Args:
      symbols: One for each token.
      vocab_size: Number of tokens.

    Raises:
      ValueError: A symbol is no text, empty, there twice or no UTF-8, or there are too few or many.
    """
    for index, symbol in enumerate(symbols):
        if not isinstance(symbol, str) or not symbol or not _is_utf8(symbol):
            raise ValueError(f"Expected symbols[{index}] as a text, got {brief(symbol)}")
    if len(symbols) != vocab_size:
        raise ValueError(f"Expected symbols for {vocab_size} tokens, got {len(symbols)}")
    if len(set(symbols)) < len(symbols):
        # Reversed, so that the first index of each symbol is the one that remains.
        first = {symbol: index for index, symbol in reversed([*enumerate(symbols)])}
        twice = next(symbol for index, symbol in enumerate(symbols) if first[symbol] != index)
        raise ValueError(f"Expected symbols that differ, got {brief(twice)} twice")


def check_source(source: Mapping[Any, object]) -> None:
    """Validates the source of weights, which becomes a column of rows.

    Args:
      source: Nothing, or a text under ``weights``.

    Raises:
      ValueError: It has another key, or no text.
    """
    for name, text in source.items():
        if name != "weights" or not isinstance(text, str) or not _is_utf8(text):
            got = f"{brief(text)} under {brief(name)}"
            raise ValueError(f"Expected its source as a text under 'weights', got {got}")


def _is_utf8(text: str) -> bool:
    """Whether a text is valid UTF-8: half a surrogate pair, which JSON allows, is not."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
