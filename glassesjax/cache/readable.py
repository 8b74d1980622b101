"""Whether a text can tell policies apart: not if nothing predicts it, hardly if it is known."""

import math

from glassesjax.model.pretrained import LanguageModel
from glassesjax.model.tokenizer import SymbolTokenizer
from glassesjax.runs.rows import Row

# The perplexity of a full state below which a model may know the text by heart: SmolLM2 has 3.5 on
# the King James Bible, and 13 to 46 on six texts that it has read little or never.
BY_HEART = 6.0
DIGITS = "random digits"
_NOTHING = f"{DIGITS}: nothing predicts them, and no policy can be better than another"


def ranking_obstacle(model: LanguageModel) -> str:
    """Why policies cannot be ranked by what this model reads; empty where they can.

    Args:
      model: One that reads text, or symbols.

    Returns:
      The reason, as a phrase.
    """
    if not isinstance(model.tokenizer, SymbolTokenizer):
        return ""
    return f"random weights on {_NOTHING}" if model.name == "toy" else _NOTHING


def row_obstacle(row: Row) -> str:
    """The same of a row; of one from before rows said it, by what it read.

    Args:
      row: Of the perplexity or the retention study.

    Returns:
      The reason, or nothing.
    """
    if "ranking_obstacle" in row:
        return str(row["ranking_obstacle"] or "")
    digits = row.get("text") == DIGITS or row.get("model") == "toy"
    return _NOTHING if digits else ""


def may_know(perplexity: float) -> bool:
    """Whether a text's perplexity suggests that the model knows it by heart.

    Args:
      perplexity: Of a full state, over some hundred tokens or more.

    Returns:
      Whether it is below ``BY_HEART``.
    """
    return math.isfinite(perplexity) and perplexity < BY_HEART
