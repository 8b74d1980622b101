"""Makes the models that are damaged: ``python scripts/abuse_models.py FILE``.

In a process of its own, for it uses JAX, beside whose threads no process can fork.
"""

import functools
import pickle
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from model.made_conversions import converted
from model.made_families import ROWS
from model.made_families import made as tensors_of
from model.made_folders import sharded
from model.made_gguf_tokenizers import byte_level_keys, published, sentencepiece_keys
from model.made_tokenizers import KINDS as TOKENIZERS
from model.made_tokenizers import folder_of, made

BYTE_LEVEL, SCORES = ("gpt-2", "qwen2", "llama3", "smollm"), ("llama2", "gemma3")
YARN = {"rope_type": "yarn", "factor": 2.0, "original_max_position_embeddings": 16}
# Models as GGUF has them, with other numbers than those of absent keys.
IN_GGUF: dict[str, dict[str, Any]] = {
    "llama": {"rope_theta": 5e3, "tie_word_embeddings": True},
    "mistral": {"sliding_window": None, "rope_theta": 5e3},
    "smollm3": {},
    "qwen2": {"sliding_window": None, "use_sliding_window": False},
    "qwen3": {"rope_scaling": YARN},
    "phi3": {},
    "olmo2": {},
    "gemma2": {"tie_word_embeddings": True},
    "gemma3_text": {},
    "gpt2": {},
    "gpt_neox": {},
    "starcoder2": {"sliding_window": None},
    "falcon": {},
    "bloom": {},
}
GENERATION = '{"eos_token_id": [2, 3], "max_length": 20}'


class Models(NamedTuple):
    """Models by family and tokenizer."""

    gguf: dict[tuple[str, str], tuple[dict[str, Any], dict[str, np.ndarray]]]
    """Keys and tensors of a file."""
    folders: dict[tuple[str, str], dict[str, bytes]]
    """Files by their names, the weights in two shards."""


@functools.cache
def stored(path: Path) -> Models:
    """The models that this script made.

    Args:
      path: Of its file.
    """
    return pickle.loads(path.read_bytes())


def _gguf(family: str, tokenizer: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    if tokenizer in SCORES:
        keys = sentencepiece_keys(tokenizer)
    else:
        keys = byte_level_keys(published(tokenizer), tokenizer, bos_token_id=1, eos_token_id=2)
    config = ROWS[family] | IN_GGUF[family]
    config |= {"vocab_size": len(keys["tokenizer.ggml.tokens"])}
    name = "mistral3" if family == "mistral" else None  # llama is there as well
    tensors = tensors_of(family, config)
    pairs, arrays = converted(config | {"model_type": family}, tensors, name)
    return pairs | {"general.name": "made", "general.file_type": 0} | keys, arrays


def _folder(family: str, tokenizer: str, path: Path) -> dict[str, bytes]:
    rows = made(tokenizer).get_vocab_size() + 1
    config = ROWS[family] | {"vocab_size": rows, "eos_token_id": 2}
    sharded(path, config | {"model_type": family, "pad_token_id": 0}, tensors_of(family, config))
    added = {str(rows - 1): {"content": "<new>", "special": True}, "2": {"content": "</s>"}}
    folder_of(path, tokenizer, added_tokens_decoder=added)
    (path / "generation_config.json").write_text(GENERATION)
    return {file.name: file.read_bytes() for file in sorted(path.iterdir())}


def main(path: Path) -> None:
    """Makes every family with every tokenizer.

    Args:
      path: Of the file that gets them.
    """
    ours = [(family, name) for family in IN_GGUF for name in (*BYTE_LEVEL, *SCORES)]
    gguf = {pair: _gguf(*pair) for pair in ours}
    with tempfile.TemporaryDirectory() as room:
        pairs = [(family, name) for family in ROWS for name in TOKENIZERS]
        folders = {pair: _folder(*pair, Path(room, *pair)) for pair in pairs}
    path.write_bytes(pickle.dumps(Models(gguf, folders)))


if __name__ == "__main__":
    from abuse_models import main as run  # by the name under which the file is read

    run(Path(sys.argv[1]))
