"""Whether policies can be ranked on a text: not on random tokens, hardly on a memorized text."""

import math

from glassesjax.cache.obstacles import Obstacle
from glassesjax.model.pretrained import LanguageModel
from glassesjax.model.tokenizer import SymbolTokenizer

# Perplexity with a full cache below which the model may have memorized the text: SmolLM2 has 3.5
# on the King James Bible, and 13 to 46 on six texts that are rare or absent in its training data.
BY_HEART = 6.0


def ranking_obstacle(model: LanguageModel) -> Obstacle | None:
    """Why policies cannot be ranked on this model's texts; None where they can.

    Args:
      model: A model of text or symbols.

    Returns:
      The reason, by name.
    """
    if not isinstance(model.tokenizer, SymbolTokenizer):
        return None
    return "random_weights" if model.name == "toy" else "random_digits"


def may_know(perplexity: float) -> bool:
    """Whether a text's perplexity suggests that the model has memorized it.

    Args:
      perplexity: That with a full cache, over some hundred tokens or more.

    Returns:
      Whether it is below ``BY_HEART``.
    """
    return math.isfinite(perplexity) and perplexity < BY_HEART
