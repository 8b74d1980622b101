"""Tokenizers: symbols of a fixed vocabulary, texts, or token numbers alone."""

import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NoReturn

from glassesjax.errors import BadInput
from glassesjax.model.chat import chat_text
from glassesjax.model.spelling import Spelling, byte_name, spelled
from glassesjax.model.vocabulary import checked_tokens
from glassesjax.tasks.sequences import BOS
from glassesjax.tasks.text import crosses_pieces, text_pieces

MOST_TOKENS = 1 << 31  # token numbers are int32
NO_START = "none"
"""Name of the start of prompts where there is none."""
WRITABLE = "Expected a text of letters that the model's vocabulary can write"
FIRST_READ = 1 << 14  # characters of a long text that are tokenized at first


@dataclasses.dataclass(frozen=True)
class SymbolTokenizer:
    """A vocabulary of single symbols.

    Attributes:
      symbols: The vocabulary in the order of token numbers.
    """

    symbols: tuple[str, ...]

    @property
    def start_name(self) -> str:
        """What a prompt begins with where it begins with the start token."""
        return BOS if BOS in self.symbols else NO_START

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
class TextTokenizer:
    """A tokenizer of texts.

    Attributes:
      engine: A ``tokenizers.Tokenizer``; that package is imported only to make one.
      bos: Number of the beginning-of-sequence token, or None.
      eos: Number of the end-of-sequence token, or None.
      opening: Tokens that the model expects before every text.
      chat_template: The model's own template of a conversation (Jinja), or None.
      other_ends: Tokens beside ``eos`` that end a text: of a turn, of a message.
      whole: Tokens that are read whole, before pairs are merged; their names are their texts.
      missing: Bytes for which the vocabulary has no token, which the engine leaves out.
      unknown: Number of the token for a letter that the vocabulary lacks, or None.
      marking: An engine that writes ``unknown`` for the letters that ``engine`` leaves out, or None
        where that leaves out none; its other numbers do not count.
      named: Other special tokens under their names in templates, such as ``pad_token``.
      spelling: How names of tokens stand for bytes.
      splits: Whether a long text may be read in the pieces of ``text_pieces``.
      rows: Rows of the model's table of embeddings, or None where each token has one. Tokens from
        there on are refused, and rows without a token have a number for a name.
    """

    engine: Any
    bos: int | None
    eos: int | None
    opening: tuple[int, ...]
    chat_template: str | None
    other_ends: tuple[int, ...] = ()
    whole: frozenset[int] = frozenset()
    missing: bytes = b""
    unknown: int | None = None
    marking: Any = None
    named: tuple[tuple[str, int], ...] = ()
    spelling: Spelling = "byte_level"
    splits: bool = False
    rows: int | None = None

    @property
    def ends(self) -> frozenset[int]:
        """Tokens that end a text."""
        return frozenset(self.other_ends if self.eos is None else (self.eos, *self.other_ends))

    @property
    def start(self) -> tuple[int, ...]:
        """Tokens in place of the start token: it, or what the model expects before every text."""
        return self.opening if self.bos is None else (self.bos,)

    @property
    def start_name(self) -> str:
        """What a prompt begins with where it begins with the start token: its name, or ``none``."""
        return "".join(map(self._name, self.start)) or NO_START

    def for_table(self, rows: int) -> "TextTokenizer":
        """The tokenizer of a model whose table of embeddings has so many rows.

        Args:
          rows: Number of rows; there may be more than tokens.

        Returns:
          The same, which refuses tokens without a row.

        Raises:
          BadInput: A token that begins every text has none.
        """
        model = dataclasses.replace(self, rows=rows)
        model._check_rows(self.start)
        return model

    def without_row(self) -> tuple[str, ...]:
        """Names of the tokens that have no row in the model's table, by their numbers."""
        rows = MOST_TOKENS if self.rows is None else self.rows
        beyond = {n: name for name, n in self.engine.get_vocab().items() if n >= rows}
        return tuple(beyond[number] for number in sorted(beyond))

    def encode(self, text: str) -> tuple[int, ...]:
        """Token numbers of a text, after the tokens that the model expects before it.

        Args:
          text: Any text; marks of special tokens in it are read as such.

        Returns:
          The numbers.

        Raises:
          BadInput: The vocabulary lacks a letter of the text, which would be left out, or the
            model's table lacks a token of it.
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
        if not self.splits:
            yield from self._read_ahead(text)
            return
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
        name = self._name(token)
        if self.spelling == "byte_level" and token in self.whole:
            return name.encode()  # text already, and no character for each byte
        return spelled(name, self.spelling)

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
        """The token of each symbol in this vocabulary, whatever the joined text would be.

        Args:
          symbols: Digits, commas and the beginning-of-sequence mark.

        Returns:
          As many numbers, but for the mark, which becomes ``start``.

        Raises:
          BadInput: The vocabulary has no token for a symbol.
        """
        tokens = {
            symbol: self.start if symbol == BOS else (self._symbol(symbol),)
            for symbol in set(symbols)
        }
        return tuple(token for symbol in symbols for token in tokens[symbol])

    def token_text(self, token: int) -> str:
        """A token as text; its name where it is special or no whole character.

        Args:
          token: Its number.

        Returns:
          The text or the name.

        Raises:
          ValueError: It is not in the vocabulary.
        """
        text = self.decode([token])
        return text if "\ufffd" not in text else self._name(token)

    def _symbol(self, symbol: str) -> int:
        """The token whose text is exactly the symbol."""
        names = [symbol]
        if self.spelling == "sentencepiece" and len(symbol.encode()) == 1:
            names.append(byte_name(ord(symbol)))
        numbers = [self.engine.token_to_id(name) for name in names]
        exact = [
            number
            for number in numbers
            if number is not None and self.token_bytes(number) == symbol.encode()
        ]
        if len(exact) > 1:  # as a letter and as a byte: what a text with it would have
            text = self._encoded(self.engine, symbol).ids
            exact = [number for number in exact if number in text] or exact
        if not exact:
            expected = f"Expected a vocabulary with a token for {symbol!r}"
            raise BadInput(f"{expected}, got one without: use another model.")
        self._check_rows(exact[:1])
        return exact[0]

    def _read_ahead(self, text: str) -> Iterator[int]:
        """Tokens of ever longer beginnings of a text, of each the first half that is new."""
        done: list[int] = []
        size = FIRST_READ
        while size < len(text):
            tokens = self._read(text[:size])
            # Where a beginning ends cannot reach back over half of its tokens.
            new = tokens[: len(tokens) // 2]
            if new[: len(done)] != done:
                break
            yield from new[len(done) :]
            done, size = new, 4 * size
        tokens = self._read(text)
        if tokens[: len(done)] != done:
            expected = "Expected a text whose first tokens do not depend on what is far behind them"
            raise BadInput(f"{expected}, got one where they do: use a shorter text.")
        yield from tokens[len(done) :]

    def _read(self, text: str) -> list[int]:
        try:
            content = text.encode()
        except UnicodeEncodeError as error:
            raise BadInput(f"{WRITABLE}, got bytes that are no UTF-8: leave them out.") from error
        encoding = self._encoded(self.engine, text)
        tokens: list[int] = encoding.ids
        marked = encoding if self.marking is None else self._encoded(self.marking, text)
        if self.unknown is not None and self.unknown in marked.ids:
            name = self.engine.id_to_token(self.unknown)
            pairs = zip(marked.ids, marked.offsets, strict=True)
            # Of a space that was added there are no letters: then the next one is named.
            parts = (
                text[start : max(stop, start + 1)]
                for token, (start, stop) in pairs
                if token == self.unknown
            )
            # Its own name in a text is read as the token.
            if (letter := next((part for part in parts if part.strip() != name), None)) is not None:
                raise _unwritten(letter)
        # The engine drops bytes without a token; special tokens may still contain such bytes.
        if self.missing and len(content.translate(None, self.missing)) < len(content):
            # The first byte that differs from the text's own is the one that was dropped.
            written = b"".join(map(self.token_bytes, tokens))
            pairs = enumerate(itertools.zip_longest(written, content))
            if (at := next((at for at, (ours, its) in pairs if ours != its), None)) is not None:
                letter = text[len(content[:at].decode("utf-8", "ignore"))]
                raise _unwritten(letter)
        self._check_rows(tokens)
        return tokens

    def _encoded(self, engine: Any, text: str) -> Any:  # noqa: ANN401
        """An engine's encoding; one without a token for unknown letters fails at the first."""
        try:
            return engine.encode(text, add_special_tokens=False)
        except Exception as error:  # the library's errors have no type of their own
            works, fails = 0, len(text)
            while fails - works > 1:
                middle = (works + fails) // 2
                try:
                    engine.encode(text[:middle], add_special_tokens=False)
                    works = middle
                except Exception:
                    fails = middle
            raise _unwritten(text[works:fails]) from error

    def _name(self, token: int) -> str:
        """A token's name; of a row without a token, its number."""
        name = self.engine.id_to_token(int(token))
        padding = self.rows is not None and 0 <= token < self.rows
        return numbered(token) if name is None and padding else name or ""

    def _check_rows(self, tokens: Sequence[int]) -> None:
        if self.rows is None or not tokens or (most := max(tokens)) < self.rows:
            return
        expected = f"Expected tokens below {self.rows}, the rows of the model's table"
        raise BadInput(f"{expected}, got {most} ({self._name(most)!r}): leave it out.")

    def _check(self, tokens: Sequence[int]) -> None:
        checked_tokens(tokens, MOST_TOKENS)
        rows = self.rows or 0
        unknown = (
            token
            for token in map(int, tokens)
            if token >= rows and self.engine.id_to_token(token) is None
        )
        if (token := next(unknown, None)) is not None:
            raise ValueError(f"Expected tokens of this model, got {token}: it has no such token.")


@dataclasses.dataclass(frozen=True)
class TokenNumbersOnly:
    """In place of a tokenizer that cannot be read: prompts are token numbers, and so are texts.

    Attributes:
      reason: Why, as in "the folder has no tokenizer.json".
      ends: Tokens that end a text.
    """

    reason: str
    ends: frozenset[int] = frozenset()
    start_name: str = NO_START
    opening: tuple[int, ...] = ()

    def encode(self, text: str) -> NoReturn:
        """Raises ``BadInput``: a text cannot be read."""
        raise self._refused("a text")

    def stream(self, text: str) -> NoReturn:
        """Raises ``BadInput``: a text cannot be read."""
        raise self._refused("a text")

    def encode_chat(self, messages: Sequence[Mapping[str, str]]) -> NoReturn:
        """Raises ``BadInput``: a conversation cannot be read."""
        raise self._refused("a conversation")

    def encode_symbols(self, symbols: Sequence[str]) -> NoReturn:
        """Raises ``BadInput``: the token of a symbol is not known."""
        raise self._refused("digits")

    def token_bytes(self, token: int) -> bytes:
        """The bytes of a token's number.

        Args:
          token: The number.

        Returns:
          It in brackets, as UTF-8.

        Raises:
          ValueError: It is no token number.
        """
        return self.token_text(token).encode()

    def token_text(self, token: int) -> str:
        """A token's number as text.

        Args:
          token: The number.

        Returns:
          It in brackets.

        Raises:
          ValueError: It is no token number.
        """
        checked_tokens([token], MOST_TOKENS)
        return numbered(token)

    def _refused(self, what: str) -> BadInput:
        expected = f"Expected a model with a tokenizer that can be read, for {what}"
        remedy = "use a verb with --prompt-tokens"
        return BadInput(f"{expected}, got one for token numbers only ({self.reason}): {remedy}.")


def _unwritten(letter: str) -> BadInput:
    return BadInput(f"{WRITABLE}, got {letter[:20]!r}: leave it out.")


def numbered(token: int) -> str:
    """The name of a token that has none: its number in brackets."""
    return f"[{token}]"


Tokenizer = SymbolTokenizer | TextTokenizer | TokenNumbersOnly
