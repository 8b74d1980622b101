"""GGUF metadata of small tokenizers, as converters write it from a ``tokenizer.json``."""

import functools
import itertools
import json

import numpy as np
from model.made_tokenizers import CORPUS, SPECIAL, byte_name, made
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
BLANKS = r"\s*[\r\n]+|\s+(?!\S)|\s+"


def _split(*expressions):
    splits = [
        {"type": "Split", "pattern": {"Regex": each}, "behavior": "Isolated", "invert": False}
        for each in expressions
    ]
    return {"type": "Sequence", "pretokenizers": [*splits, _bytes(use_regex=False)]}


def _bytes(*, use_regex):
    options = {"add_prefix_space": False, "trim_offsets": True, "use_regex": use_regex}
    return {"type": "ByteLevel", **options}


def _sequence(*parts):
    return {"type": "Sequence", "pretokenizers": list(parts)}


def _words(number):
    return (
        rf"{CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|{number}"
        rf"| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|{BLANKS}"
    )


def _cased(number, ending):
    upper, lower = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
    first = rf"[^\r\n\p{{L}}\p{{N}}]?{upper}*{lower}+{ending}"
    second = rf"[^\r\n\p{{L}}\p{{N}}]?{upper}+{lower}*{ending}"
    return rf"{first}|{second}|{number}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{BLANKS}"


_DIGITS = {"type": "Digits", "individual_digits": True}
_CODE = _sequence(_DIGITS, _bytes(use_regex=True))
_CHINESE = "[一-龥ࠀ-一가-퟿]+"
_GPT2 = _bytes(use_regex=True)
_BLOOM = _split(" ?[^(\\s|[.,!?\u2026\u3002\uff0c\u3001\u0964\u06d4\u060c])]+")
# What the published tokenizer.json of each family declares.
PUBLISHED = {
    "bloom": _BLOOM,
    "command-r": _CODE,
    "dbrx": _split(_words(r"\p{N}{1,3}")),
    "deepseek-coder": _sequence(
        *_split(r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", _CHINESE)["pretokenizers"][:-1],
        _DIGITS,
        _bytes(use_regex=False),
    ),
    "deepseek-r1-qwen": _split(_words(r"\p{N}")),
    "deepseek-v3": _split(
        r"\p{N}{1,3}",
        "[一-龥\u3040-ゟ\u30a0-ヿ]+",
        "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?"
        "[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+",
    ),
    "falcon": _sequence(
        {"type": "Punctuation", "behavior": "Contiguous"},
        _bytes(use_regex=True),
        {"type": "Digits", "individual_digits": False},
        _split("[0-9][0-9][0-9]")["pretokenizers"][0],
    ),
    "gpt-2": _GPT2,
    "gpt-4o": _split(_cased(r"\p{N}{1,3}", f"{CONTRACTIONS}?")),
    "gpt3-finnish": _BLOOM,
    "llama-bpe": _split(_words(r"\p{N}{1,3}")),
    "llama-v3": _split(_words(r"\p{N}{1,3}")),
    "llama3": _split(_words(r"\p{N}{1,3}")),
    "mpt": _GPT2,
    "olmo": _GPT2,
    "phi-2": _GPT2,
    "qwen2": _split(_words(r"\p{N}")),
    "refact": _CODE,
    "smaug-bpe": _split(_words(r"\p{N}{1,3}")),
    "smollm": _CODE,
    "starcoder": _CODE,
    "tekken": _split(_cased(r"\p{N}", "")),
}
COMPOSED = {"command-r", "deepseek-r1-qwen", "mpt", "olmo", "qwen2"}
WHOLE_WORDS = {"llama-bpe", "llama-v3", "llama3", "tekken"}


@functools.cache
def published(name):
    """A small byte-level tokenizer that splits texts as that family does."""
    content = json.loads(Tokenizer(models.BPE()).to_str())
    content["pre_tokenizer"] = PUBLISHED[name]
    content["normalizer"] = {"type": "NFC"} if name in COMPOSED else None
    content["model"]["ignore_merges"] = name in WHOLE_WORDS
    engine = Tokenizer.from_str(json.dumps(content))
    trainer = trainers.BpeTrainer(
        vocab_size=420,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    engine.train_from_iterator(CORPUS, trainer)
    engine.add_tokens(["<tool>", "\n\n\n"])
    return engine


def byte_level_keys(engine, pre, **keys):
    """Metadata of a byte-level tokenizer."""
    content = json.loads(engine.to_str())
    tokens, types = _tokens(content)
    merges = [" ".join(pair) for pair in content["model"]["merges"]]
    written = {"model": "gpt2", "pre": pre, "tokens": tokens, "token_type": types, "merges": merges}
    return named(written | keys)


def sentencepiece_keys(kind, **keys):
    """Metadata of ``llama2`` or ``gemma3``: scores in place of merges."""
    content = json.loads(made(kind).to_str())
    tokens, types = _tokens(content)
    types[0] = UNKNOWN
    scores = np.zeros(len(tokens), np.float32)
    for rank, pair in enumerate(content["model"]["merges"]):
        scores[tokens.index("".join(pair))] = -1 - rank
    for number, token in enumerate(tokens):
        if token in map(byte_name, range(256)):
            types[number] = BYTE
        if types[number] == USER_DEFINED:
            tokens[number] = token.replace("\u2581", " ")
    written = {"model": "llama", "pre": "default", "tokens": tokens, "token_type": types}
    written |= {"scores": scores, "bos_token_id": 1, "eos_token_id": 2, "unknown_token_id": 0}
    if kind == "gemma3":
        written["add_space_prefix"] = False
    return named(written | keys)


def named(keys):
    return {f"tokenizer.ggml.{name}": value for name, value in keys.items()}


def _tokens(content):
    tokens = dict(content["model"]["vocab"])
    tokens |= {each["content"]: each["id"] for each in content["added_tokens"]}
    types = {
        each["id"]: CONTROL if each["special"] else USER_DEFINED for each in content["added_tokens"]
    }
    ordered = sorted(tokens, key=tokens.__getitem__)
    return ordered, [types.get(number, NORMAL) for number in range(len(ordered))]


def merged_by_hand(pieces, score_of):
    """SentencePiece as defined: the best pair, the leftmost of them, until there is none."""
    pieces = list(pieces)
    while True:
        pairs = [
            (-score_of[one + other], at)
            for at, (one, other) in enumerate(itertools.pairwise(pieces))
            if one + other in score_of
        ]
        if not pairs:
            return pieces
        _, at = min(pairs)
        pieces[at : at + 2] = [pieces[at] + pieces[at + 1]]
