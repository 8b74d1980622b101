"""What a model says once for all rows of a run of it."""

from typing import Any

from glassesjax.model.language import LanguageModel


def model_fields(study: str, model: LanguageModel, seed: int) -> dict[str, Any]:
    """The fields of ``ModelConstants``.

    Args:
      study: The verb.
      model: Which is measured; of several that differ in their encoding, any.
      seed: The setting.

    Returns:
      Values by name, for it or a class that adds to it.
    """
    return {
        "study": study,
        "model": model.name,
        "weights": model.source.get("weights"),
        "weights_sha256": model.source.get("weights_sha256"),
        "model_seed": model.seed,
        "seed": seed,
        "model_dim": model.config.model_dim,
    }
