"""Tokenizers: symbols of a fixed vocabulary, or byte-level BPE."""

import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from glassesjax.errors import BadInput
from glassesjax.model.chat import chat_text
from glassesjax.model.vocabulary import checked_tokens
from glassesjax.tasks.sequences import BOS
from glassesjax.tasks.text import crosses_pieces, text_pieces

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

    @property
    def ends(self) -> frozenset[int]:
        """Tokens that end a text: none."""
        return frozenset()

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
            expected = f"Expected symbols out of {' '.join(self.symbols)}"
            raise BadInput(f"{expected}, got {unknown[0]!r}: use these.")
        return tuple(number[symbol] for symbol in symbols)

    def token_bytes(self, token: int) -> bytes:
        """The bytes of a token.

        Args:
          token: Its number.

        Returns:
          The symbol as UTF-8.

        Raises:
          ValueError: It is not in the vocabulary.
        """
        return self.token_text(token).encode()

    def token_text(self, token: int) -> str:
        """The symbol of a token number.

        Args:
          token: Its number.

        Returns:
          The symbol.

        Raises:
          ValueError: It is not in the vocabulary.
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
      other_ends: Tokens beside ``eos`` that end a text: of a turn, of a message.
      whole: Tokens that are read whole, before pairs are merged; their names are their texts.
      missing: Bytes for which the vocabulary has no token.
      named: Other special tokens under their names in templates, such as ``pad_token``.
    """

    engine: Any
    bos: int | None
    eos: int | None
    adds_bos: bool
    chat_template: str | None
    other_ends: tuple[int, ...] = ()
    whole: frozenset[int] = frozenset()
    missing: bytes = b""
    named: tuple[tuple[str, int], ...] = ()

    @property
    def ends(self) -> frozenset[int]:
        """Tokens that end a text."""
        return frozenset(self.other_ends if self.eos is None else (self.eos, *self.other_ends))

    @property
    def opening(self) -> tuple[int, ...]:
        """Tokens that the model expects before every text."""
        return (self.bos,) if self.adds_bos and self.bos is not None else ()

    def encode(self, text: str) -> tuple[int, ...]:
        """Token numbers of a text, after the tokens that the model expects before it.

        Args:
          text: Any text; marks of special tokens in it are read as such.

        Returns:
          The numbers.

        Raises:
          BadInput: The vocabulary lacks a letter of the text, which would be left out.
        """
        return (*self.opening, *self._read(text))

    def stream(self, text: str) -> Iterator[int]:
        """The numbers of ``encode`` as a lazy iterator, for the start of a long text.

        Args:
          text: Any text.

        Yields:
          The numbers.

        Raises:
          BadInput: As for ``encode``.
        """
        yield from self.opening
        # A token that is read whole may span two pieces: then the text is read as one.
        across = any(crosses_pieces(self.engine.id_to_token(token)) for token in self.whole)
        for piece in [text] if across else text_pieces(text):
            yield from self._read(piece)

    def encode_chat(self, messages: Sequence[Mapping[str, str]]) -> tuple[int, ...]:
        """Token numbers of a conversation, up to where the model's answer begins.

        Args:
          messages: Each with ``role`` (``system``, ``user`` or ``assistant``) and ``content``.

        Returns:
          The numbers of the text that the model's template writes.

        Raises:
          BadInput: The model has no template, or it cannot be filled in.
        """
        name = lambda token: None if token is None else self.engine.id_to_token(token)
        names = {key: self.engine.id_to_token(token) for key, token in self.named}
        bos, eos = name(self.bos), name(self.eos)
        text = chat_text(self.chat_template, messages, bos=bos, eos=eos, names=names)
        return tuple(self._read(text))

    def token_bytes(self, token: int) -> bytes:
        """The bytes of a token, not always whole characters.

        Args:
          token: Its number.

        Returns:
          Its bytes; of a special token, its name.

        Raises:
          ValueError: It is not in the vocabulary.
        """
        self._check([token])
        name = self.engine.id_to_token(token) or ""
        # A special token's name is text already; a byte-level name has one character a byte.
        known = token not in self.whole and all(character in BYTES for character in name)
        return bytes(BYTES[character] for character in name) if known else name.encode()

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of token numbers, special tokens included.

        Args:
          tokens: Token numbers.

        Returns:
          The text; bytes that make no whole character show as replacement characters.

        Raises:
          ValueError: A number is not in the vocabulary.
        """
        self._check(tokens)
        # Joined as bytes first, since a character may span tokens.
        return b"".join(map(self.token_bytes, tokens)).decode("utf-8", "replace")

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
            expected = "Expected a model with a beginning-of-sequence token"
            raise BadInput(f"{expected}, got one without: use another model.")
        number: dict[str, int] = {}
        for symbol in set(symbols):
            if symbol == BOS and self.bos is not None:
                number[symbol] = self.bos
                continue
            ids = self.engine.encode(symbol, add_special_tokens=False).ids
            if len(ids) != 1:
                expected = f"Expected {symbol!r} to be one token of this model"
                raise BadInput(f"{expected}, got {len(ids)}: use another model.")
            number[symbol] = ids[0]
        tokens = tuple(number[symbol] for symbol in symbols)
        # One token each is not enough: merges may join neighbors once they are one text.
        text = "".join(symbol for symbol in symbols if symbol != BOS)
        written = [number[symbol] for symbol in symbols if symbol != BOS]
        read = self.engine.encode(text, add_special_tokens=False).ids
        if read != written:
            expected = f"Expected a tokenizer with {len(written)} tokens for {text[:20]!r}"
            raise BadInput(f"{expected}, got {len(read)}: use one that splits digits and commas.")
        return tokens

    def token_text(self, token: int) -> str:
        """A token as text; its name where it is special or no whole character.

        Args:
          token: Its number.

        Returns:
          The text or the name.

        Raises:
          ValueError: It is not in the vocabulary.
        """
        self._check([token])
        text = self.decode([token])
        return text if "�" not in text else self.engine.id_to_token(token)

    def _read(self, text: str) -> list[int]:
        expected = "Expected a text of letters that the model's vocabulary can write"
        try:
            content = text.encode()
        except UnicodeEncodeError as error:
            raise BadInput(f"{expected}, got bytes that are no UTF-8: leave them out.") from error
        tokens = self.engine.encode(text, add_special_tokens=False).ids
        # The engine drops bytes without a token; special tokens may still contain such bytes.
        if self.missing and len(content.translate(None, self.missing)) < len(content):
            # The first byte that differs from the text's own is the one that was dropped.
            written = b"".join(map(self.token_bytes, tokens))
            pairs = enumerate(itertools.zip_longest(written, content))
            if (at := next((at for at, (ours, its) in pairs if ours != its), None)) is not None:
                letter = text[len(content[:at].decode("utf-8", "ignore"))]
                raise BadInput(f"{expected}, got {letter!r}: leave it out.")
        return tokens

    def _check(self, tokens: Sequence[int]) -> None:
        checked_tokens(tokens, MOST_TOKENS)
        unknown = (token for token in tokens if self.engine.id_to_token(int(token)) is None)
        if (token := next(unknown, None)) is not None:
            raise ValueError(f"Expected tokens of this model, got {token}: it has no such token.")


Tokenizer = SymbolTokenizer | ByteLevelTokenizer
