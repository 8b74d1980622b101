"""Prompts of a family of runs in a model's tokens, and prompts that are given as token numbers."""

from collections.abc import Sequence
from typing import NamedTuple

from glassesjax.errors import BadInput
from glassesjax.model.tokenizer import SymbolTokenizer, TextTokenizer, Tokenizer
from glassesjax.tasks.sequences import BOS, Family, Prompt


class FamilyPrompt(NamedTuple):
    """One prompt of a family of runs."""

    tokens: tuple[int, ...]
    text_round_trips: bool
    """Whether the model's tokenizer makes these tokens of their text, the start apart."""
    characters: int
    """Of that text."""
    text_tokens: int
    """Tokens without the start."""


def family_prompt(tokenizer: Tokenizer, family: Family, prompt: Prompt) -> FamilyPrompt:
    """A prompt of a family in a model's tokens.

    Args:
      tokenizer: The model's.
      family: Whether symbols are one token each, or a text.
      prompt: Its symbols.

    Returns:
      The tokens of the text, or for each symbol the one that it has in the vocabulary.

    Raises:
      BadInput: The vocabulary lacks a symbol, or the model has no tokenizer.
    """
    symbols = tuple(symbol for symbol in prompt if symbol != BOS)
    text = "".join(symbols)
    if not isinstance(tokenizer, TextTokenizer):
        # Symbols are the tokens: of these a text is read symbol by symbol, from the start token on.
        tokens = tokenizer.encode_symbols((BOS, *symbols) if family.text else prompt)
        return FamilyPrompt(tokens, True, len(text), len(symbols))
    read = tokenizer.encode(text)
    of_text = read[len(tokenizer.opening) :]
    if family.text:
        return FamilyPrompt(read, True, len(text), len(of_text))
    own = tokenizer.encode_symbols(symbols)
    same = own == of_text
    return FamilyPrompt(tokenizer.encode_symbols(prompt), same, len(text), len(own))


def start_length(tokenizer: Tokenizer) -> int:
    """Number of tokens in place of the start token of a prompt.

    Args:
      tokenizer: The model's.

    Returns:
      One, or as many as the model expects before every text, which may be none.
    """
    return 1 if isinstance(tokenizer, SymbolTokenizer) else len(tokenizer.encode_symbols((BOS,)))


def numbered_prompt(tokens: Sequence[int], vocab_size: int) -> tuple[int, ...]:
    """A prompt that was given as token numbers, to which nothing is added.

    Args:
      tokens: Token numbers of the settings.
      vocab_size: Rows of the model's table of embeddings.

    Returns:
      The same.

    Raises:
      BadInput: One is not in the table.
    """
    foreign = [token for token in tokens if not 0 <= token < vocab_size]
    if foreign:
        expected = f"Expected --prompt-tokens from 0 to {vocab_size - 1}, the model's tokens"
        raise BadInput(f"{expected}, got {foreign[0]}: choose others.")
    return tuple(tokens)
