"""Text and symbols to token numbers: the vocabulary of a toy, or one rebuilt from a GGUF file."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from glassesjax.errors import BadInput
from glassesjax.tasks.sequences import BOS

MODELS_WANTED = (
    "Wanted the packages that read models; install them: pip install 'glassesjax[models]'."
)
CONTROL_TOKEN = 3  # token type of GGUF: never produced by text, only named
# Byte-level vocabularies write each byte as a character that prints: itself, or one from 256 on.
PRINTED = (*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100))
HIDDEN = tuple(byte for byte in range(256) if byte not in PRINTED)
BYTES = {chr(byte): byte for byte in PRINTED} | {chr(256 + i): b for i, b in enumerate(HIDDEN)}


@dataclasses.dataclass(frozen=True)
class SymbolTokenizer:
    """A vocabulary of single symbols.

    Attributes:
      symbols: The vocabulary in the order of token numbers.
    """

    symbols: tuple[str, ...]

    def encode_symbols(self, symbols: Sequence[str]) -> tuple[int, ...]:
        """One token number for each symbol.

        Args:
          symbols: Digits, commas and the beginning-of-sequence mark.

        Returns:
          As many numbers.

        Raises:
          BadInput: A symbol is not in the vocabulary.
        """
        number = {symbol: index for index, symbol in enumerate(self.symbols)}
        unknown = sorted(set(symbols) - number.keys())
        if unknown:
            wanted = f"Wanted symbols out of {' '.join(self.symbols)}"
            raise BadInput(f"{wanted}; found {unknown[0]!r}.")
        return tuple(number[symbol] for symbol in symbols)

    def token_bytes(self, token: int) -> bytes:
        """What the token adds to a text.

        Args:
          token: Its number.

        Returns:
          The symbol as UTF-8.
        """
        return self.symbols[token].encode()

    def token_text(self, token: int) -> str:
        """The symbol of a token number.

        Args:
          token: Its number.

        Returns:
          The symbol.
        """
        return self.symbols[token]


@dataclasses.dataclass(frozen=True)
class ByteLevelTokenizer:
    """A byte-level BPE tokenizer.

    Attributes:
      engine: The rebuilt ``tokenizers.Tokenizer``; that package is imported only to make one.
      bos: Number of the beginning-of-sequence token, or None.
      eos: Number of the end-of-sequence token, or None.
      adds_bos: Whether the model expects the beginning-of-sequence token before every text.
      chat_template: The model's own template of a conversation (Jinja), or None.
    """

    engine: Any
    bos: int | None
    eos: int | None
    adds_bos: bool
    chat_template: str | None

    def encode(self, text: str) -> tuple[int, ...]:
        """Token numbers of a text, with nothing added but what the model expects before it.

        Args:
          text: Any text; marks of special tokens in it are read as such.

        Returns:
          The numbers.
        """
        tokens = tuple(self.engine.encode(text, add_special_tokens=False).ids)
        return (self.bos, *tokens) if self.adds_bos and self.bos is not None else tokens

    def encode_chat(self, messages: Sequence[Mapping[str, str]]) -> tuple[int, ...]:
        """Token numbers of a conversation, up to where the model's answer begins.

        Args:
          messages: Each with ``role`` (``system``, ``user`` or ``assistant``) and ``content``.

        Returns:
          The numbers; nothing is added that the model's template does not write.

        Raises:
          BadInput: The model has no template, or it cannot be filled in.
        """
        name = lambda token: None if token is None else self.engine.id_to_token(token)
        text = chat_text(self.chat_template, messages, bos=name(self.bos), eos=name(self.eos))
        return tuple(self.engine.encode(text, add_special_tokens=False).ids)

    def token_bytes(self, token: int) -> bytes:
        """What the token adds to a text: not always whole characters.

        Args:
          token: Its number.

        Returns:
          Its bytes; of a special token, its name.
        """
        name = self.engine.id_to_token(token) or ""
        known = all(character in BYTES for character in name)
        return bytes(BYTES[character] for character in name) if known else name.encode()

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of token numbers, special tokens included.

        Args:
          tokens: Token numbers.

        Returns:
          The text; bytes that make no whole character show as replacement characters.
        """
        return self.engine.decode(list(tokens), skip_special_tokens=False)

    def encode_symbols(self, symbols: Sequence[str]) -> tuple[int, ...]:
        """One token number for each symbol.

        Args:
          symbols: Digits, commas and the beginning-of-sequence mark.

        Returns:
          As many numbers.

        Raises:
          BadInput: A symbol is not one token, or this tokenizer would read the joined text as
            other tokens: runs of such symbols are then no runs of tokens.
        """
        if BOS in symbols and self.bos is None:
            raise BadInput("Wanted a model with a beginning-of-sequence token; this one has none.")
        number = {symbol: self._symbol(symbol) for symbol in set(symbols)}
        tokens = tuple(number[symbol] for symbol in symbols)
        text = "".join(symbol for symbol in symbols if symbol != BOS)
        written = [number[symbol] for symbol in symbols if symbol != BOS]
        read = self.engine.encode(text, add_special_tokens=False).ids
        if read != written:
            found = f"this tokenizer reads {text[:20]!r} as {len(read)} tokens, not {len(written)}"
            raise BadInput(f"Wanted a tokenizer that keeps digits and commas apart; {found}.")
        return tokens

    def token_text(self, token: int) -> str:
        """A token as text; its name where it is special or no whole character.

        Args:
          token: Its number.

        Returns:
          The text or the name.
        """
        text = self.engine.decode([token], skip_special_tokens=False)
        return text if "�" not in text else self.engine.id_to_token(token)

    def _symbol(self, symbol: str) -> int:
        if symbol == BOS and self.bos is not None:
            return self.bos
        tokens = self.engine.encode(symbol, add_special_tokens=False).ids
        if len(tokens) != 1:
            raise BadInput(f"Wanted {symbol!r} to be one token of this model, not {len(tokens)}.")
        return tokens[0]


Tokenizer = SymbolTokenizer | ByteLevelTokenizer


def chat_text(
    template: str | None,
    messages: Sequence[Mapping[str, str]],
    *,
    bos: str | None,
    eos: str | None,
) -> str:
    """A conversation as the model was taught to read it.

    Args:
      template: The model's own, in Jinja; it is a program out of a file and runs in a sandbox.
      messages: Each with ``role`` and ``content``.
      bos: Name of the beginning-of-sequence token.
      eos: Name of the end-of-sequence token.

    Returns:
      The text up to where the model's answer begins.

    Raises:
      BadInput: There is no template, it is none, or it refuses these messages; or ``jinja2`` is not
        installed.
    """
    if template is None:
        wanted = "Wanted a model with a chat template; this one has none"
        raise BadInput(f"{wanted}: leave --chat out, or use a model that was taught to converse.")
    try:
        from jinja2.sandbox import ImmutableSandboxedEnvironment
    except ImportError as error:
        raise BadInput(MODELS_WANTED) from error
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    values = {
        "raise_exception": _refuse,
        "bos_token": bos or "",
        "eos_token": eos or "",
        "add_generation_prompt": True,
    }
    try:
        return environment.from_string(template).render(messages=list(messages), **values)
    except Exception as error:
        # A template is a program: it may fail in any way.
        told = " ".join(str(error).split()) or type(error).__name__
        raise BadInput(
            f"Wanted a chat template that can be filled in; it fails: {told}."
        ) from error


def _refuse(message: str) -> None:
    """What templates call to refuse a conversation."""
    raise ValueError(message)


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
