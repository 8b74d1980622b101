"""Whether a text can tell policies apart: not if nothing predicts it, hardly if it is known."""

import math

from glassesjax.cache.obstacles import Obstacle
from glassesjax.model.pretrained import LanguageModel
from glassesjax.model.tokenizer import SymbolTokenizer

# The perplexity of a full state below which a model may know the text by heart: SmolLM2 has 3.5 on
# the King James Bible, and 13 to 46 on six texts that it has read little or never.
BY_HEART = 6.0


def ranking_obstacle(model: LanguageModel) -> Obstacle | None:
    """Why policies cannot be ranked by what this model reads; None where they can.

    Args:
      model: One that reads text, or symbols.

    Returns:
      The reason, by name.
    """
    if not isinstance(model.tokenizer, SymbolTokenizer):
        return None
    return "random_weights" if model.name == "toy" else "random_digits"


def may_know(perplexity: float) -> bool:
    """Whether a text's perplexity suggests that the model knows it by heart.

    Args:
      perplexity: Of a full state, over some hundred tokens or more.

    Returns:
      Whether it is below ``BY_HEART``.
    """
    return math.isfinite(perplexity) and perplexity < BY_HEART
