"""Builds the tokenizer of a GGUF file from its lists of tokens and merges."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from glassesjax.errors import MODELS_WANTED, BadInput, brief, escaped
from glassesjax.model.spelling import BYTES
from glassesjax.model.tokenizer import TextTokenizer

# Types of tokens, as GGUF numbers them from 1 to 6: normal, unknown, control, user-defined, unused,
# byte. Marks are never spelled by text, only named; user-defined ones are read whole, before pairs.
MARKS, USER_DEFINED, TYPES = (2, 3), 4, range(1, 7)

PREFIX = "tokenizer.ggml."
# Keys under it that the tokenizer is made of or checked against, beside ids of tokens; ``scores``
# order the tokens of another kind of model, and are a note here.
USED = {"model", "pre", "tokens", "token_type", "scores", "merges", "add_bos_token"}
# Keys under it that would change what is read; true is not supported.
SWITCHES_OFF = {
    "add_eos_token",
    "add_sep_token",
    "add_space_prefix",
    "ignore_merges",
    "normalizer.lowercase",
    "remove_extra_whitespaces",
}
# Other keys under ``tokenizer.``: the template that is used, and those under names of their own,
# which are notes. Any key in none of these tables is refused: what it means here is not known.
TEMPLATE = "tokenizer.chat_template"
TEMPLATES = ("tokenizer.chat_templates", f"{TEMPLATE}.")
# Names of tokens in the templates of conversations, and their keys.
NAMED = {
    "unk_token": "unknown_token_id",
    "sep_token": "seperator_token_id",  # so spelled in the files
    "pad_token": "padding_token_id",
    "cls_token": "cls_token_id",
    "mask_token": "mask_token_id",
}
USED_IDS = ("bos_token_id", "eos_token_id", "eot_token_id", "eom_token_id")
NO_TOKEN = 2**32 - 1  # how files write -1, none, for ids that reading and writing do not use


def tokenizer_from_gguf(metadata: Mapping[str, Any]) -> TextTokenizer:
    """Builds the tokenizer of a GGUF file.

    Args:
      metadata: The file's key-value pairs.

    Returns:
      The rebuilt tokenizer. The ends of a sequence, of a turn and of a message end a text.

    Raises:
      BadInput: The file describes a kind of tokenizer that cannot be rebuilt here, has a key of a
        tokenizer that is not known, or contradicts itself; or ``tokenizers`` is not installed.
    """
    keys = {key.removeprefix(PREFIX): v for key, v in metadata.items() if key.startswith(PREFIX)}
    if (model := keys.get("model")) != "gpt2":
        raise _foreign("a byte-level BPE tokenizer ('gpt2')", brief(model))
    _check_keys(metadata)
    tokens = _strings("tokens", keys.get("tokens"))
    numbers: dict[str, int | None] = {}
    for name, value in keys.items():
        if not _is_id(name):
            continue
        # Types exactly: a bool is an int to isinstance.
        valid = type(value) is int and 0 <= value < len(tokens)
        absent = type(value) is int and value == NO_TOKEN and name not in USED_IDS
        if not valid and not absent:
            raise _foreign(f"tokenizer.ggml.{name} from 0 below {len(tokens)}", brief(value))
        numbers[name] = value if valid else None
    adds_bos = keys.get("add_bos_token", False)
    if not isinstance(adds_bos, bool) or (adds_bos and numbers.get("bos_token_id") is None):
        got = f"{brief(adds_bos)} with bos_token_id {numbers.get('bos_token_id')}"
        raise _foreign(f"{PREFIX}add_bos_token false, or true with a token", got)
    template = metadata.get(TEMPLATE)
    if not isinstance(template, str | None):
        raise _foreign(f"a string {TEMPLATE}", type(template).__name__)
    types = _types(len(tokens), keys)
    special = [token for token, kind in zip(tokens, types, strict=True) if kind in MARKS]
    added = [token for token, kind in zip(tokens, types, strict=True) if kind == USER_DEFINED]
    engine = _engine(
        tokens, _strings("merges", keys.get("merges")), keys.get("pre"), special, added
    )
    vocabulary = set(tokens)
    # Ends of a turn and of a message, beside that of a sequence.
    turn_ends = (numbers.get("eot_token_id"), numbers.get("eom_token_id"))
    named = ((name, numbers.get(key)) for name, key in NAMED.items())
    bos = numbers.get("bos_token_id")
    return TextTokenizer(
        engine=engine,
        bos=bos,
        eos=numbers.get("eos_token_id"),
        opening=(bos,) if adds_bos and bos is not None else (),
        chat_template=template,
        other_ends=tuple(number for number in turn_ends if number is not None),
        whole=frozenset(engine.token_to_id(token) for token in (*special, *added) if token),
        missing=bytes(byte for name, byte in BYTES.items() if name not in vocabulary),
        splits=True,
        named=tuple((name, number) for name, number in named if number is not None),
    )


def _check_keys(metadata: Mapping[str, Any]) -> None:
    """Validates that every key of the tokenizer is used, a note, or without effect."""
    for key, value in metadata.items():
        if key.partition(".")[0] != "tokenizer" or key == TEMPLATE or key.startswith(TEMPLATES):
            continue
        name = key.removeprefix(PREFIX)
        if name != key and name in SWITCHES_OFF:
            if value is not False:
                raise _foreign(f"{key} false or without it", brief(value))
        elif name == key or not (name in USED or _is_id(name)):
            raise _foreign(
                "keys of a plain byte-level tokenizer", f"{escaped(key)} = {brief(value)}"
            )


def _foreign(expected: str, got: str) -> BadInput:
    return BadInput(f"Expected a GGUF with {expected}, got {got}: use another file.")


def _strings(name: str, value: object) -> list[str]:
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return value
    raise _foreign(f"a list of strings tokenizer.ggml.{name}", type(value).__name__)


def _is_id(name: str) -> bool:
    return name.endswith("_token_id")


def _types(vocab_size: int, keys: Mapping[str, Any]) -> list[int]:
    """The type of each token; all are normal where the file has none. Validates scores as well."""
    if "scores" in keys:
        scores = keys["scores"]
        expected = f"one number {PREFIX}scores for each of {vocab_size} tokens"
        if not isinstance(scores, np.ndarray) or scores.dtype.kind not in "iuf":
            raise _foreign(expected, brief(scores))
        if len(scores) != vocab_size:
            raise _foreign(expected, f"{len(scores)}")
    if (types := keys.get("token_type")) is None:
        return [1] * vocab_size
    expected = f"one tokenizer.ggml.token_type for each of {vocab_size} tokens"
    if not isinstance(types, list | np.ndarray) or len(types) != vocab_size:
        got = len(types) if isinstance(types, list | np.ndarray) else type(types).__name__
        raise _foreign(expected, f"{got}")
    numbers = types.tolist() if isinstance(types, np.ndarray) else types
    foreign = {kind for kind in set(numbers) if type(kind) is not int or kind not in TYPES}
    if foreign:
        raise _foreign(f"{expected}, from 1 to {len(TYPES)}", brief(foreign.pop()))
    return numbers


def _engine(
    tokens: list[str], merges: list[str], pre: object, special: list[str], added: list[str]
) -> Any:  # noqa: ANN401
    try:
        from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    except ImportError as error:
        raise BadInput(MODELS_WANTED) from error
    vocabulary, pairs = {token: number for number, token in enumerate(tokens)}, []
    for merge in merges:
        # A byte-level name has no blank, which it writes as another character.
        first, _, second = merge.partition(" ")
        if not first or not second or " " in second:
            raise _foreign("merges of two tokens with a space between", brief(merge))
        pairs.append((first, second))
    if len(vocabulary) < len(tokens):
        twice = next(token for number, token in enumerate(tokens) if vocabulary[token] != number)
        raise _foreign("tokens of different texts", f"two of {brief(twice)}")
    try:
        engine = Tokenizer(models.BPE(vocab=vocabulary, merges=pairs))
    except Exception as error:
        # The library raises a bare Exception, for example for a merge outside the vocabulary.
        raise _foreign("merges that fit its tokens", " ".join(str(error).split())) from error
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    match pre:  # the rule that splits a text before merges, as llama.cpp names it
        case "smollm":  # each digit is a piece of its own
            digits = pre_tokenizers.Digits(individual_digits=True)
            engine.pre_tokenizer = pre_tokenizers.Sequence([digits, byte_level])
        case "gpt-2":
            engine.pre_tokenizer = byte_level
        case _:
            raise _foreign("a pre-tokenizer out of smollm, gpt-2", brief(pre))
    engine.decoder = decoders.ByteLevel()
    # Not normalized: the text of a user-defined token is matched as it is.
    engine.add_special_tokens([AddedToken(token, special=True) for token in special])
    engine.add_tokens([AddedToken(token, normalized=False) for token in added])
    return engine
