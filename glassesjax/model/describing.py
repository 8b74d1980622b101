"""What a model's folder is, in lines, from headers alone."""

from collections.abc import Iterator
from pathlib import Path

from glassesjax.errors import BadInput
from glassesjax.memory import size_text
from glassesjax.model.folder import ModelFolder, read_folder
from glassesjax.model.folder_tokenizer import open_tokenizer
from glassesjax.model.placing import NAMES, Placed, place
from glassesjax.model.stored_config import config_record
from glassesjax.model.weights import decoder_bytes

SIZES = ("vocab_size", "num_layers", "model_dim", "num_heads", "num_kv_heads", "head_dim")


def describe_folder(path: Path, weights: Path | None = None) -> Iterator[tuple[str, str]]:
    """Family, sizes, dtype, bytes, switches and tokenizer; or what is refused, and why.

    Args:
      path: The folder.
      weights: A file of all weights in it, where it is not the usual one.

    Yields:
      A name and its text.
    """
    try:
        folder = read_folder(path, weights)
        placed = place(folder)
    except BadInput as error:
        yield "refused", str(error)
        return
    yield "family", placed.family.title
    yield from _sizes(folder, placed)
    # Long tables, as of rotary frequencies, would hide the rest.
    for name, value in config_record(placed.config).items():
        if name not in (*SIZES, "max_length"):
            text = str(value)
            yield name, text if len(text) <= 160 else f"{text[:157]}..."
    for note in placed.notes:
        yield "chosen", note
    try:
        tokenizer = open_tokenizer(path, placed.config.vocab_size)
        yield "tokenizer", type(tokenizer).__name__
    except BadInput as error:
        yield "refused", str(error)


def _sizes(folder: ModelFolder, placed: Placed) -> Iterator[tuple[str, str]]:
    config = placed.config
    sizes = {name: getattr(config, name) for name in SIZES}
    sizes["num_kv_heads"], sizes["head_dim"] = config.kv_heads, config.key_dim
    yield "sizes", ", ".join(f"{name} {value}" for name, value in sizes.items())
    yield "longest text", "any" if config.max_length is None else f"{config.max_length} tokens"
    stored = sum(tensor.entry.size for tensor in folder.tensors.values())
    yield "dtype", " and ".join(NAMES[dtype] for dtype in placed.dtypes)
    yield "bytes", f"{size_text(stored)} in {len(folder.files)} files"
    yield "weights", f"{decoder_bytes(config, 1):,}, {size_text(decoder_bytes(config))} in float32"
