"""The fixed words of the collapse page: what was measured, in which sense, and with what limits."""

# Titles, and whether the encoding meets what Theorem 4.2 asks of positional information.
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

LEAD = (
    "A decoder-only Transformer chooses its next token from one vector: the representation of the"
    " last token it has read.",
    "For runs that differ only in their length, n against n + 1, these vectors can come ever closer"
    " as n grows (representational collapse): the model then sees two different inputs as one, and"
    " cannot count them apart.",
    "How soon that matters depends on the numbers it computes in: this page measures how far"
    " apart the two vectors are, and what each number format leaves of it.",
)

GLOSSARY = {
    "n": "The length of the run: how many tokens are repeated, drawn or grouped. Each prompt is"
    " compared with the one of n + 1.",
    "signal": "The distance between the two last representations. In wide arithmetic all is"
    " computed in float64, on the weights as the format stores them; in own arithmetic all is"
    " computed in the format itself.",
    "error of the difference": "How far the difference of the two representations in own"
    " arithmetic is from their difference in float64. The errors of the two prompts partly cancel"
    " in it.",
    "detectable": "The difference in own arithmetic, projected on the true one, exceeds three"
    " standard deviations of what the error has in that direction. A difference smaller than its"
    " error can still be detectable: only a share of the error points its way. Whether a later"
    " layer would use it is another question.",
    "rounded": "What is left of the distance when both float64 representations, of unrounded"
    " weights, are stored in the format. Coordinates that were close can become equal; those"
    " astride a rounding boundary move apart.",
    "equal, ≈ 0": "Exactly equal numbers have distance 0, which a logarithmic axis cannot show:"
    " they stand in the gray strip “equal”. A hollow mark there, and ≈ 0 in tables, is a distance"
    " that float64's own rounding may have made.",
    "unit roundoff, u": "The largest relative error of rounding one number to the format.",
    "ulp": "Unit in the last place: the spacing of the format at the larger of two coordinates."
    " Within the format's range, numbers further apart than 1 ulp stay different when rounded; the"
    " closer they are below that, the likelier they become equal. Beyond its largest number all"
    " round to one (7 and 30 in e2m1).",
    "margin certificate": "The greedy token leads every other token by some logit margin. If the"
    " two representations are too close to use up any of these margins, the longer prompt must have"
    " the same greedy token: the certificate holds. Where it does not hold, nothing is known.",
    "slope": "The exponent b of a distance that goes as nᵇ, by least squares on logarithms over the"
    " tail: the lengths from which on the slopes over doublings of n agree to 0.1, over a decade or"
    " more. In brackets, what moving the start of the tail makes of it, and two more steps of a"
    " drift. Not settled: no such tail, so the last decade. An exponential is closer: it predicts"
    " the last doubling of n at least twice as well from the two before. No trend: the interval"
    " holds zero, or the distance moves less than twofold.",
}

METHODS = (
    "Distances in the figures are relative in L1: the sum of absolute differences over the L1 norm"
    " of the shorter prompt's representation. Theorem 4.2 of arXiv 2406.04267 speaks of L1; its"
    " Figure 5 shows the largest coordinate (L∞). The rows hold L1, L2, L∞, relative L1 and ulp.",
    "Wide arithmetic is float64. Each of its rows has a resolution, the distance that its rounding"
    " may make: eight times the largest noise that float32 shows in the family, scaled from"
    " float32's unit roundoff to float64's. A signal at or below it is not told apart from zero,"
    " and no exponent rests on it.",
    "Float64 is the wide arithmetic itself: it has no curve of its own and no error here.",
    "Native means arrays of that type and the backend's own operations; simulated means explicit"
    " rounding after each step of a wider computation. Each row says which it is.",
    "To compare only the outputs of a low-precision run, and wait until they are equal, would"
    " miss the collapse: the noise of two different prompts keeps them apart long after the signal"
    " between them is gone. Hence three curves.",
    "The hypothesis that is checked for each pair is that of the theorem on the prompts: the longer"
    " one is the shorter one with its last token repeated. That the logits are bounded, and that"
    " positions fade with distance, depends on the encoding.",
    "“From n on” is a statement about the measured lengths, and about no length between or beyond.",
    "The certificate compares float64 logits of the two representations in wide arithmetic. It says"
    " nothing about an answer that a format's own noise, or sampling, may change.",
)

FOUR_BITS = (
    "The weights were quantized to about 4 bits before they came here ({weights}): this is the"
    " model as distributed, not as trained. All formats above start from these weights, decoded"
    " to float32."
)

OVERVIEW_CAPTION = (
    "Distance between the last representations of the runs of n and n + 1, in float64, with the"
    " fitted power law dashed. Gray panels: the longer prompt is not the shorter one with its"
    " last token repeated (at some length at least), so Theorem 4.2 says nothing there."
    " Strip “equal”: exact zeros; hollow, what float64's own rounding may have made."
)
CURVES_CAPTION = (
    "Thick: the signal in float64, on weights as the format stores them. Thin with circles: the"
    " same in the format's own arithmetic. Shaded below the dashed line: its error in the"
    " difference. Dotted with diamonds: the float64 signal of unrounded weights after rounding to"
    " the format. Where the thick line dives into the shade, the error exceeds the difference."
)
EQUAL_CAPTION = (
    "Left: share of the coordinates that rounding makes equal. Right: the largest difference of a"
    " coordinate before rounding, in the format's own spacing: above 1 ulp rounding cannot make it"
    " equal within the format's range, below it may."
)
