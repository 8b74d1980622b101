"""What pages call a model."""

MODELS = {"toy": "the toy decoder", "smollm2": "SmolLM2"}
