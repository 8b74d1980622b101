"""GGUF files written byte by byte, whole or damaged; nothing of ``gguf``."""

import struct
from typing import NamedTuple

import numpy as np

from glassesjax.model.gguf_model import place_gguf, read_gguf_model

F32 = 0
LLAMA = {
    "general.architecture": "llama",
    "llama.block_count": 2,
    "llama.context_length": 64,
    "llama.embedding_length": 16,
    "llama.feed_forward_length": 24,
    "llama.attention.head_count": 4,
    "llama.attention.head_count_kv": 2,
    "llama.attention.layer_norm_rms_epsilon": 1e-5,
}
TOKENS = {
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.ggml.pre": "gpt-2",
    "tokenizer.ggml.tokens": ["<s>", "a", "b", "c", "ab"],
    "tokenizer.ggml.token_type": [3, 1, 1, 1, 1],
    "tokenizer.ggml.merges": ["a b"],
    "tokenizer.ggml.bos_token_id": 0,
}
# In place of the above: a SentencePiece tokenizer of as many tokens.
SENTENCEPIECE = {
    "tokenizer.ggml.model": "llama",
    "tokenizer.ggml.tokens": ["<unk>", "a", "b", "c", "ab"],
    "tokenizer.ggml.token_type": [2, 1, 1, 1, 1],
    "tokenizer.ggml.scores": [0.0, -3.0, -2.0, -4.0, -1.0],
    "tokenizer.ggml.merges": None,
    "tokenizer.ggml.bos_token_id": None,
}
SHAPES = {
    "attn_norm.weight": (16,),
    "attn_q.weight": (16, 16),
    "attn_k.weight": (8, 16),
    "attn_v.weight": (8, 16),
    "attn_output.weight": (16, 16),
    "ffn_norm.weight": (16,),
    "ffn_gate.weight": (24, 16),
    "ffn_up.weight": (24, 16),
    "ffn_down.weight": (16, 24),
}


class Raw(NamedTuple):
    """A value as it is to stand in the file."""

    kind: int
    content: bytes


class Entry(NamedTuple):
    """A line of the table of tensors."""

    name: str
    dims: tuple[int, ...]
    """Innermost first, as files have it."""
    kind: int
    offset: int


def string(text):
    content = text if isinstance(text, bytes) else text.encode()
    return struct.pack("<Q", len(content)) + content


def array(kind, count, content=b""):
    return Raw(9, struct.pack("<IQ", kind, count) + content)


def value(given):
    match given:
        case Raw():
            return given
        case bool():
            return Raw(7, struct.pack("<?", given))
        case int():
            return (
                Raw(4, struct.pack("<I", given)) if given >= 0 else Raw(5, struct.pack("<i", given))
            )
        case float():
            return Raw(6, struct.pack("<f", given))
        case str():
            return Raw(8, string(given))
        case [bool(), *_]:
            return array(7, len(given), bytes(given))
        case [str(), *_]:
            return array(8, len(given), b"".join(map(string, given)))
        case [float(), *_]:
            return array(6, len(given), np.asarray(given, "<f4").tobytes())
        case list():
            return array(5, len(given), np.asarray(given, "<i4").tobytes())


def header(pairs, table, *, version=3, counts=None):
    """Pairs as a mapping, or as a list where a key is to stand twice."""
    pairs = list(pairs.items()) if isinstance(pairs, dict) else pairs
    num_tensors, num_pairs = counts or (len(table), len(pairs))
    made = [b"GGUF", struct.pack("<IQQ", version, num_tensors, num_pairs)]
    for key, given in pairs:
        kind, content = value(given)
        made += [string(key), struct.pack("<I", kind), content]
    for name, dims, kind, offset in table:
        made += [string(name), struct.pack("<I", len(dims)), struct.pack(f"<{len(dims)}Q", *dims)]
        made.append(struct.pack("<IQ", kind, offset))
    return b"".join(made)


def padded(content, alignment=32):
    return content + bytes(-len(content) % alignment)


def table_of(arrays, alignment=32):
    """Float32 tensors one behind the other, and their bytes."""
    table, data = [], b""
    for name, weights in arrays.items():
        table.append(Entry(name, weights.shape[::-1], F32, len(data)))
        data += padded(weights.astype("<f4").tobytes(), alignment)
    return table, data


def llama_tensors(rows=5, seed=0):
    """Weights of a llama of two blocks, all different, so that exchanged ones show."""
    rng = np.random.default_rng(seed)
    shapes = {f"blk.{i}.{name}": shape for i in range(2) for name, shape in SHAPES.items()}
    shapes |= {"token_embd.weight": (rows, 16), "output_norm.weight": (16,)}
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def llama_config(path, change=None, **options):
    """The settings of a small llama, written as by ``llama_file``, from its headers alone."""
    return place_gguf(read_gguf_model(llama_file(path, change, **options))).config


def llama_file(path, change=None, *, tensors=None, alignment=32, move=None, **options):
    """A small llama; ``change`` of its pairs, None for one that is to be absent.

    ``move`` gives the entry of a tensor another offset, as ``{name: offset}``.
    """
    pairs = {**LLAMA, **TOKENS, **(change or {})}
    pairs = {key: given for key, given in pairs.items() if given is not None}
    table, data = table_of(llama_tensors() if tensors is None else tensors, alignment)
    table = [entry._replace(offset=(move or {}).get(entry.name, entry.offset)) for entry in table]
    path.write_bytes(padded(header(pairs, table, **options), alignment) + data)
    return path


def plain_file(path, pairs, tensors):
    """A file of these pairs and float32 tensors."""
    table, data = table_of(tensors)
    path.write_bytes(padded(header(pairs, table)) + data)
    return path
