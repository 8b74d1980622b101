"""The fixed words of the perplexity page: what was measured, in which sense, with what limits."""

LEAD = (
    "A Transformer remembers every token it has read: a pair of vectors in each layer. If it may"
    " keep only some, it is a recurrent network with several states, and someone must decide what"
    " to forget.",
    "How much worse does the same model, untrained for it, predict a text then? This page gives the"
    " perplexity by policy and by size of the state.",
)

# How the page calls each kind of position ids: by the setting's value.
SPACING = {"original": "true", "compressed": "compressed", "consecutive": "consecutive"}

GLOSSARY = {
    "perplexity": "The exponential of the mean negative log likelihood of each token given what the"
    " model still knows of those before it: among how many equally likely tokens it is undecided.",
    "slots": "How many tokens each layer holds between two steps. The current one comes on top"
    " while it attends.",
    "full": "Nothing is forgotten.",
    "window, window+4": "The newest tokens stay; window+4 keeps the first four as well, within the"
    " same number of slots. These first tokens are called sinks.",
    "h2o": "Half of the slots hold the newest tokens, the other half those that got the most"
    " attention so far, summed over all queries; each key-value head decides for itself.",
    "tova": "What the current token attends to least is dropped, itself included, by the mean over"
    " the heads of the layer.",
    "-head, -layer": "Each key-value head decides for itself; or the layer decides for all of them,"
    " by the mean over its heads. h2o decides by head if neither is said, tova by layer.",
    "short": "No policy: the text is cut into pieces of as many tokens as there are slots, each"
    " read from an empty state.",
    "window of the text, book": "A window of the text is read from an empty state; a running book"
    " is read through with one state.",
    "spacing": "Where the model is told that the kept tokens stand: where they stood (true), with"
    " long gaps compressed, or side by side (consecutive).",
}

METHODS = (
    "All policies are scored on the same tokens: each but the first of a window, once. Losses are"
    " in nats, from float32 or wider logits; they are added up in float64.",
    "The policies decide after each token, as if tokens came one by one. What forgets nothing is"
    " read many tokens at a time, which is the same function.",
    "Tokens per second are those of reading a given text on this machine, compilation apart; they"
    " are not those of writing one, and other work on the machine slows them.",
    "The short baseline gives a token between 1 and as many tokens of context as there are slots;"
    " the paper gives its own the last ones, as many as there are slots. Its numbers are therefore"
    " no match of the paper's.",
    "The paper read PG-19 with a model of seven billion parameters in bfloat16. What carries over"
    " is the shape of the table, not its numbers.",
    "Two policies are told apart only where the interval of their paired difference leaves zero"
    " out: losses are summed by blocks of 64 tokens, and blocks are drawn again with replacement,"
    " both policies together (bootstrap-t, 4000 draws, seed 0). Each interval is of one pair at"
    " 95%: of twenty pairs that differ by nothing one is expected outside. It speaks of more text"
    " of this kind, not of other texts or models.",
)

BLOCK_LOSSES = (
    "This run was begun before losses of single tokens were stored: where they are missing, the"
    " sums over these blocks are those of the rows."
)

FOUR_BITS = (
    "The weights were quantized to about 4 bits before they came here ({weights}): this is the"
    " model as distributed, not as trained. All numbers are of these weights, decoded to float32."
)

SLOTS_CAPTION = (
    "Lower is better. Both axes are logarithmic. Colors are scores: dotted lines keep first tokens"
    " as well, dashed ones decide by head or layer as their name says."
)
POSITIONS_CAPTION = (
    "The same by where a token stands in its window: to the left of the number of slots nothing is"
    " forgotten yet, and all policies but short are equal. A step is a stretch of positions."
)
PAIRS_CAPTION = "Of {pairs} pairs, each by itself: {basis}."
PAPER_CAPTION = (
    "The paper's Table 3 (arXiv 2401.06104v2): perplexity of LLaMA-2-7B on PG-19 in windows of 4096"
    " tokens. Its row for H2O by layer equals its row for Window+1 digit by digit, which looks like"
    " a slip."
)

# The paper's Table 3: names as here, then perplexity at 64, 128, ..., 4096 states.
PAPER_SLOTS = (64, 128, 256, 512, 1024, 2048, 4096)
PAPER = {
    "short": (17.65, 12.97, 10.39, 8.92, 8.04, 7.50, 7.16),
    "window": (4812.27, 4025.01, 3275.58, 2184.62, 1001.29, 240.17, 7.16),
    "window+1": (10.20, 8.97, 8.22, 7.76, 7.50, 7.33, 7.16),
    "window+4": (10.28, 8.98, 8.19, 7.73, 7.46, 7.30, 7.16),
    "h2o": (10.22, 8.97, 8.21, 7.75, 7.49, 7.32, 7.16),
    "h2o-layer": (10.20, 8.97, 8.22, 7.76, 7.50, 7.33, 7.16),
    "tova-head": (11.13, 9.55, 8.69, 7.90, 7.52, 7.27, 7.16),
    "tova": (9.53, 8.32, 7.71, 7.41, 7.25, 7.17, 7.16),
    "tova+1": (9.53, 8.31, 7.71, 7.41, 7.25, 7.17, 7.16),
    "tova+4": (9.63, 8.33, 7.72, 7.41, 7.25, 7.17, 7.16),
}
