"""The positional encodings by name, and whether they meet the hypotheses of Theorem 4.2."""

POSITIONS = {
    "none": (
        "No positions",
        "There is no positional information but the causal mask: nothing here stands against the"
        " theorem.",
    ),
    "sinusoidal": (
        "Sinusoidal, in the embedding",
        "A wave of the position is added to the embedding, so the two last tokens differ before"
        " the first layer. The theorem wants positions in the attention logits alone.",
    ),
    "sinusoidal_query_key": (
        "Sinusoidal, in queries and keys",
        "A wave of the position is added to queries and keys. It reaches the logits alone, as the"
        " theorem wants, but does not fade with distance, which the theorem wants, too.",
    ),
    "learned": (
        "Learned",
        "A vector for each position is added to the embedding, so the two last tokens differ"
        " before the first layer. The theorem wants positions in the attention logits alone.",
    ),
    "rotary": (
        "Rotary",
        "Queries and keys are turned by their position. The effect on the logits need not fade"
        " with distance, which the theorem wants: what is seen here is measured, not implied.",
    ),
    "alibi": (
        "ALiBi",
        "Logits fall linearly with distance. They are not bounded, which the theorem wants.",
    ),
    "window": (
        "No positions, sliding window",
        "Each token sees only the last few. Once the tokens within reach of the last one, through"
        " all layers, are all the same, the two representations are exactly equal.",
    ),
}
