"""What a model is, in lines, from headers alone."""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from glassesjax.memory import size_text
from glassesjax.model.config import DecoderConfig
from glassesjax.model.folder import read_folder
from glassesjax.model.folder_model import dtype_names
from glassesjax.model.folder_tokenizer import open_tokenizer
from glassesjax.model.gguf_model import gguf_tokenizer, place_gguf, read_gguf_model
from glassesjax.model.placing import Container, Placed, place
from glassesjax.model.tokenizer import SymbolTokenizer, TextTokenizer, Tokenizer
from glassesjax.model.weights import decoder_bytes

SIZES = (
    "vocab_size",
    "num_layers",
    "model_dim",
    "num_heads",
    "num_kv_heads",
    "head_dim",
    "max_length",
)
MOST_NUMBERS = 4  # of a list that is written out
Lines = Iterator[tuple[str, str]]


def describe_folder(path: Path, weights: Path | None = None) -> Lines:
    """Family, dtype and bytes of a folder, then as ``describe``.

    Args:
      path: The folder.
      weights: A file of all weights in it, where it is not the usual one.

    Yields:
      A name and its text.

    Raises:
      BadInput: The model is refused; where only its tokenizer is, after all other lines.
    """
    folder = read_folder(path, weights)
    placed = place(folder)
    yield from _described(folder, placed)
    yield "tokenizer", tokenizer_text(open_tokenizer(path, placed.config.vocab_size))


def describe_gguf(path: Path) -> Lines:
    """The same of a GGUF file, or of the first part of one.

    Args:
      path: The file.

    Yields:
      A name and its text.

    Raises:
      BadInput: As ``describe_folder``.
    """
    model = read_gguf_model(path)
    placed = place_gguf(model)
    yield from _described(model, placed)
    yield "tokenizer", tokenizer_text(gguf_tokenizer(model, placed))


def _described(container: Container, placed: Placed) -> Lines:
    yield "family", placed.family.title
    yield from _stored(container, placed)
    yield from describe(placed.config)
    for note in placed.notes:
        yield "chosen", note


def describe(config: DecoderConfig) -> Lines:
    """Sizes, and each switch that is not the default of ``DecoderConfig``.

    Args:
      config: Of a decoder.

    Yields:
      A name and its text.
    """
    heads = f"{config.num_heads} heads of {config.key_dim}, {config.kv_heads} key-value heads"
    sizes = f"{config.num_layers} layers, width {config.model_dim:,}, {heads}"
    yield "sizes", f"{sizes}, {config.mlp_dim:,} hidden units, {config.vocab_size:,} tokens"
    yield "weights", f"{decoder_bytes(config, 1):,}; {size_text(decoder_bytes(config))} in float32"
    yield "longest text", "any" if config.max_length is None else f"{config.max_length:,} tokens"
    for name, value in _changed(config).items():
        if name not in SIZES:
            yield name, value


def tokenizer_text(tokenizer: Tokenizer) -> str:
    """What a tokenizer reads, and how it begins.

    Args:
      tokenizer: Of a model.

    Returns:
      One line.
    """
    match tokenizer:
        case SymbolTokenizer(symbols):
            return f"{len(symbols)} symbols"
        case TextTokenizer():
            tokens = f"{tokenizer.engine.get_vocab_size():,} tokens"
            start = f"start token {tokenizer.start_name}"
            template = "a" if tokenizer.chat_template else "no"
            return f"{tokens}, {start}, {template} chat template"
        case _:
            return f"token numbers only: {getattr(tokenizer, 'reason', type(tokenizer).__name__)}"


def _stored(container: Container, placed: Placed) -> Lines:
    stored = sum(tensor.entry.size for tensor in container.tensors.values())
    count = len(container.files)
    yield "dtype", " and ".join(dtype_names(placed))
    yield "bytes", f"{size_text(stored)} in {count} {'file' if count == 1 else 'files'}"


def _changed(settings: object) -> dict[str, str]:
    """Fields of a dataclass that have no default, or another value, as Python writes them."""
    texts = {}
    for field in dataclasses.fields(settings):  # pyrefly: ignore[bad-argument-type]
        value = getattr(settings, field.name)
        default = field.default
        if default is dataclasses.MISSING and callable(field.default_factory):
            default = field.default_factory()
        if value != default:
            texts[field.name] = _text(value)
    return texts


def _text(value: Any) -> str:  # noqa: ANN401
    """A switch as a call with what is not its default; a long list by its ends."""
    if dataclasses.is_dataclass(value):
        if layers := getattr(value, "layers", ()):
            return "; ".join(_by_layer(layers))
        fields = ", ".join(f"{name}={text}" for name, text in _changed(value).items())
        return f"{type(value).__name__}({fields})"
    if isinstance(value, tuple) and len(value) > MOST_NUMBERS:
        return f"({_text(value[0])}, ..., {_text(value[-1])}: {len(value)} numbers)"
    if isinstance(value, float):
        return f"{value:.10g}"
    return str(value)


def _by_layer(layers: Sequence[object]) -> Iterator[str]:
    """Each kind with the numbers of its layers."""
    texts = list(map(_text, layers))
    for text in dict.fromkeys(texts):
        numbers = [number for number, other in enumerate(texts) if other == text]
        yield f"{text} in layers {_ranges(numbers)}"


def _ranges(numbers: Sequence[int]) -> str:
    """Such as ``0-4, 6-10, 12`` of increasing numbers."""
    starts = [n for n in numbers if n - 1 not in numbers]
    ends = [n for n in numbers if n + 1 not in numbers]
    return ", ".join(f"{a}" if a == b else f"{a}-{b}" for a, b in zip(starts, ends, strict=True))
