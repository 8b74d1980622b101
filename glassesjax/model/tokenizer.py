"""Text and symbols to token numbers: the vocabulary of a toy, or byte-level pairs."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from glassesjax.errors import BadInput
from glassesjax.model.vocabulary import checked_tokens
from glassesjax.tasks.sequences import BOS

MODELS_WANTED = (
    "Wanted the packages that read models; install them: pip install 'glassesjax[models]'."
)
# Byte-level vocabularies write each byte as a character that prints: itself, or one from 256 on.
PRINTED = (*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100))
HIDDEN = tuple(byte for byte in range(256) if byte not in PRINTED)
MOST_TOKENS = 1 << 31  # token numbers are int32
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

        Raises:
          ValueError: It is no token's.
        """
        checked_tokens([token], len(self.symbols))
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

        Raises:
          ValueError: It is no token's.
        """
        self._check([token])
        name = self.engine.id_to_token(token) or ""
        known = all(character in BYTES for character in name)
        return bytes(BYTES[character] for character in name) if known else name.encode()

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of token numbers, special tokens included.

        Args:
          tokens: Token numbers.

        Returns:
          The text; bytes that make no whole character show as replacement characters.

        Raises:
          ValueError: A number is no token's.
        """
        self._check(tokens)
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

        Raises:
          ValueError: It is no token's.
        """
        self._check([token])
        text = self.engine.decode([token], skip_special_tokens=False)
        return text if "�" not in text else self.engine.id_to_token(token)

    def _check(self, tokens: Sequence[int]) -> None:
        checked_tokens(tokens, MOST_TOKENS)
        unknown = (token for token in tokens if self.engine.id_to_token(int(token)) is None)
        if (token := next(unknown, None)) is not None:
            raise ValueError(f"Expected tokens of this model, got {token}: it has no such token.")

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
