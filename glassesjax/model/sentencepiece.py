"""SentencePiece tokenizers that merge pairs (BPE), from their tokens and scores.

SentencePiece merges the neighbors whose joined text is the token of the highest score. The
``tokenizers`` package merges by rank instead: a pair for each way to write a token as two others,
those of higher scores first, which is how published ``tokenizer.json`` files are made.
"""

from array import array
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

import numpy as np

from glassesjax.model.spelling import SPACE


class Pairs(Sequence[tuple[str, str]]):
    """Pairs that are made when they are read.

    Half a million tuples of strings would take as much memory as the tokenizer that reads them.

    Attributes:
      size: How many there are.
      made: Makes all of them, in order.
    """

    def __init__(self, size: int, made: Callable[[], Iterator[tuple[str, str]]]) -> None:
        self.size, self.made = size, made

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: Any) -> Any:  # noqa: ANN401
        return list(self)[index]

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return self.made()


def merges_by_score(tokens: Sequence[str], scores: np.ndarray, numbers: Collection[int]) -> Pairs:
    """Pairs of tokens that are merged, in the order of merging.

    Args:
      tokens: All tokens.
      scores: Of each token; NaN for none.
      numbers: Of the tokens that are merged or made by merging.

    Returns:
      Each pair whose joined text is a token, by falling score. Pairs of one token: the longer first
      part first.
    """
    number_of = {tokens[number]: number for number in numbers}
    get = number_of.get
    # Arrays rather than lists: there are half a million pairs in the largest vocabularies.
    made, first, second = array("i"), array("i"), array("i")
    for token, number in number_of.items():
        for cut in range(1, len(token)):
            if (left := get(token[:cut])) is not None and (right := get(token[cut:])) is not None:
                made.append(number)
                first.append(left)
                second.append(right)
    one, other = np.asarray(first), np.asarray(second)
    lengths = np.asarray([len(token) for token in tokens], np.int32)
    # Of one score: longer parts first.
    order = np.lexsort((-lengths[other], -lengths[one], -scores[np.asarray(made)]))
    one, other = one[order], other[order]
    name = tokens.__getitem__
    return Pairs(len(order), lambda: zip(map(name, one), map(name, other), strict=True))


def sentencepiece_engine(
    tokens: Sequence[str],
    merges: Sequence[tuple[str, str]],
    *,
    unknown: int | None,
    begins_with_space: bool,
) -> Any:  # noqa: ANN401
    """A tokenizer of the ``tokenizers`` package.

    Args:
      tokens: All tokens.
      merges: Pairs in the order of merging.
      unknown: Number of the token for a letter that has neither a token nor tokens of its bytes.
      begins_with_space: Whether a space is put before a text, and after each special token in it.

    Returns:
      The tokenizer, without special tokens.
    """
    from tokenizers import Tokenizer, models, normalizers

    engine = Tokenizer(
        models.BPE(
            vocab={token: number for number, token in enumerate(tokens)},
            merges=merges,
            unk_token=None if unknown is None else tokens[unknown],
            fuse_unk=True,
            byte_fallback=True,
        )
    )
    spaces = normalizers.Replace(" ", SPACE)
    before = [normalizers.Prepend(SPACE)] if begins_with_space else []
    engine.normalizer = normalizers.Sequence([*before, spaces])
    return engine
