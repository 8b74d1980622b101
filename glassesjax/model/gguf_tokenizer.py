"""The tokenizer that a GGUF file describes, rebuilt from its lists of tokens and merges."""

from collections.abc import Mapping
from typing import Any

from glassesjax.errors import BadInput
from glassesjax.model.tokenizer import MODELS_WANTED, ByteLevelTokenizer

CONTROL_TOKEN = 3  # token type of GGUF: never produced by text, only named


def tokenizer_from_gguf(metadata: Mapping[str, Any]) -> ByteLevelTokenizer:
    """The tokenizer that a GGUF file describes.

    Args:
      metadata: The file's key-value pairs.

    Returns:
      The rebuilt tokenizer.

    Raises:
      BadInput: The file describes a kind of tokenizer that cannot be rebuilt here, or contradicts
        itself; or ``tokenizers`` is not installed.
    """
    get = lambda name: metadata.get(f"tokenizer.ggml.{name}")
    if get("model") != "gpt2":
        raise _foreign(f"a byte-level BPE tokenizer ('gpt2'); found {get('model')!r:.60}")
    tokens = _strings("tokens", get("tokens"))
    engine = _engine(tokens, _strings("merges", get("merges")), get("pre"), get("token_type"))
    number = lambda name: _token_number(name, get(name), len(tokens))
    template = metadata.get("tokenizer.chat_template")
    return ByteLevelTokenizer(
        engine=engine,
        bos=number("bos_token_id"),
        eos=number("eos_token_id"),
        adds_bos=bool(get("add_bos_token")),
        chat_template=template if isinstance(template, str) else None,
    )


def _foreign(wanted_and_found: str) -> BadInput:
    return BadInput(f"Wanted a GGUF with {wanted_and_found}; use another file.")


def _strings(name: str, value: object) -> list[str]:
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return value
    raise _foreign(f"a list of strings tokenizer.ggml.{name}; found {type(value).__name__}")


def _token_number(name: str, value: object, vocab_size: int) -> int | None:
    if value is None or (isinstance(value, int) and 0 <= value < vocab_size):
        return value
    raise _foreign(f"tokenizer.ggml.{name} below {vocab_size}; found {value!r:.60}")


def _engine(tokens: list[str], merges: list[str], pre: object, types: object) -> Any:  # noqa: ANN401
    try:
        from tokenizers import AddedToken, Tokenizer, decoders, models
    except ImportError as error:
        raise BadInput(MODELS_WANTED) from error
    special = [AddedToken(token, special=True) for token in _control_tokens(tokens, types)]
    vocabulary, pairs = {token: number for number, token in enumerate(tokens)}, _pairs(merges)
    try:
        engine = Tokenizer(models.BPE(vocab=vocabulary, merges=pairs))
    except Exception as error:
        # The library raises a bare Exception, for example for a merge outside the vocabulary.
        raise _foreign(f"merges that fit its tokens; {' '.join(str(error).split())}") from error
    engine.pre_tokenizer = _pre_tokenizer(pre)
    engine.decoder = decoders.ByteLevel()
    engine.add_special_tokens(special)
    return engine


def _pairs(merges: list[str]) -> list[tuple[str, str]]:
    pairs = []
    for merge in merges:
        first, _, second = merge.partition(" ")
        if not first or not second or " " in second:
            raise _foreign(f"merges of two tokens with a space between; found {merge!r:.60}")
        pairs.append((first, second))
    return pairs


def _control_tokens(tokens: list[str], types: object) -> list[str]:
    if types is None:
        return []
    if not isinstance(types, list) or len(types) != len(tokens):
        found = f"{len(types)}" if isinstance(types, list) else type(types).__name__
        raise _foreign(
            f"one tokenizer.ggml.token_type for each of {len(tokens)} tokens; found {found}"
        )
    return [token for token, kind in zip(tokens, types, strict=True) if kind == CONTROL_TOKEN]


def _pre_tokenizer(name: object) -> Any:  # noqa: ANN401  (the library has no common type)
    from tokenizers import pre_tokenizers

    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    match name:
        case "smollm":
            digits = pre_tokenizers.Digits(individual_digits=True)
            return pre_tokenizers.Sequence([digits, byte_level])
        case "gpt-2":
            return byte_level
        case _:
            raise BadInput(f"Wanted a GGUF pre-tokenizer out of smollm, gpt-2; found {name!r:.60}.")
