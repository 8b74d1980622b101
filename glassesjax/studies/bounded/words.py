"""The fixed words of the bounded page: what was measured, in which sense, with what limits."""

LEAD = (
    "Two papers meet here. One says that the last representations of long runs collapse, and that"
    " most tokens are heard ever less; the other, that a Transformer may be run as a recurrent"
    " network whose state holds few tokens.",
    "What does a bounded state do to collapse, and who is still heard once it was dropped?",
)

COLLAPSE_CAPTION = (
    "Distance (L2) of the last representations of runs of n and n + 1, by policy. Dashed: the"
    " capacity k. Dotted: where a window must make them equal. A point in the strip is equal within"
    " rounding."
)
INFLUENCE_CAPTION = (
    "Share of each token in the influence on the last representation, at the embedding. Filled: the"
    " last query still sees the token in at least one layer. Hollow: no layer does; it is heard"
    " through tokens that read it before. Gray: the rollout of the pruned attention. A gap is a"
    " token from which no path is left."
)

BY_LAYERS = (
    "Share of the influence, and how many tokens carry it, by the share of layers in which the last"
    " query still sees the token. Loudest: of the tokens in no layer those with the most influence."
)

GLOSSARY = {
    "policy, slots": "What a layer keeps of the past, and how many tokens: a query sees these and"
    " itself. full keeps all; window the newest; window+4 also the first four; h2o those attended"
    " to most, and the newest half, for each key-value head; tova those that the current query"
    " attends to most.",
    "equal": "A distance no larger than what rounding may have made: eight times the largest"
    " distance between two computations of the same representations, step by step and as one dense"
    " pass.",
    "influence": "The norm of the derivative of the last representation in one token's embedding,"
    " through the states that the policy left: the Frobenius norm, per unit of the embedding."
    " Shares are of the sum of squares over tokens.",
    "held": "The last query still sees the token in at least one layer.",
}

METHODS = (
    "Policies decide after each token. Runs that end on the repeated token are rows of one reading;"
    " a token after the run is tried beside it and thrown away.",
    "Derivatives are of the dense pass whose masks are what the policy chose. The choice itself is"
    " piecewise constant: its derivative is zero wherever there is one.",
    "A window's equality holds where no position is absolute, with first tokens kept only where"
    " there are no positions at all; it says from where at the latest.",
    "Scores of equal tokens tie, and ties go to the smallest position; what rounding makes of a tie"
    " is decided by rounding.",
)
