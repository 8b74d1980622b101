"""Exact match and token F1 of answers, as in extractive question answering."""

import collections
import re
import unicodedata

ARTICLES = ("a", "an", "the")


def normalized(text: str) -> str:
    """An answer normalized for comparison: lower case, no punctuation or articles, single spaces.

    Args:
      text: An answer.

    Returns:
      Its words with a space between; empty where nothing is left.
    """
    plain = "".join(c for c in text.lower() if unicodedata.category(c)[0] != "P")
    return " ".join(word for word in plain.split() if word not in ARTICLES)


def exact_match(answer: str, expected: str) -> bool:
    """Whether two answers are equal after normalization."""
    return normalized(answer) == normalized(expected)


def token_f1(answer: str, expected: str) -> float:
    r"""Overlap of two bags of normalized words: the harmonic mean of precision and recall.

    .. math:: F_1 = \frac{2 c}{a + e}

    with c words in common (with multiplicity), a words in the answer and e in the expected one.

    Source: as QASPER is scored in arXiv 2401.06104v2, section on long-range understanding.

    Returns:
      From 0 to 1; of two empty answers 1.
    """
    words, target = normalized(answer).split(), normalized(expected).split()
    if not words and not target:
        return 1.0
    common = (collections.Counter(words) & collections.Counter(target)).total()
    return 2 * common / (len(words) + len(target))


def first_words(text: str, count: int) -> str:
    """The first words of a text's first line.

    Args:
      text: Any text.
      count: Maximum number of words; all if 0.

    Returns:
      The words unchanged, joined by single spaces.
    """
    words = re.split(r"[\r\n]", text.strip(), maxsplit=1)[0].split()
    return " ".join(words[: count or None])
