"""What pages call a model, and what they say of its weights."""

MODELS = {"toy": "the toy decoder", "smollm2": "SmolLM2"}

FOUR_BITS = (
    "The weights were quantized to about 4 bits before they came here ({weights}): this is the"
    " model as distributed, not as trained. All numbers are of these weights, decoded to float32."
)
