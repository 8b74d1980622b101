"""How near an answer is to the one that was expected, as in extractive question answering."""

import collections
import re
import unicodedata

ARTICLES = ("a", "an", "the")


def normalized(text: str) -> str:
    """What two answers are compared by: lower case, no punctuation, no articles, single spaces.

    Args:
      text: An answer.

    Returns:
      Its words with a space between; empty where nothing is left.
    """
    plain = "".join(c for c in text.lower() if unicodedata.category(c)[0] != "P")
    return " ".join(word for word in plain.split() if word not in ARTICLES)


def exact_match(answer: str, expected: str) -> bool:
    """Whether the two are the same once normalized.

    Args:
      answer: What was said.
      expected: What should have been said.

    Returns:
      True where no word differs.
    """
    return normalized(answer) == normalized(expected)


def token_f1(answer: str, expected: str) -> float:
    r"""Overlap of two bags of normalized words: the harmonic mean of precision and recall.

    .. math:: F_1 = \frac{2 c}{a + e}

    with c words in common (each as often as both have it), a words said and e expected.

    Source: as QASPER is scored in arXiv 2401.06104v2, section on long-range understanding.

    Args:
      answer: What was said.
      expected: What should have been said.

    Returns:
      From 0 to 1; of two empty answers 1.
    """
    said, wanted = normalized(answer).split(), normalized(expected).split()
    if not said and not wanted:
        return 1.0
    common = (collections.Counter(said) & collections.Counter(wanted)).total()
    return 2 * common / (len(said) + len(wanted))


def first_words(text: str, count: int) -> str:
    """The beginning of a text.

    Args:
      text: Any text; its first line counts only.
      count: Most words; all if 0.

    Returns:
      Words as they stand, with single spaces.
    """
    words = re.split(r"[\r\n]", text.strip(), maxsplit=1)[0].split()
    return " ".join(words[: count or None])
