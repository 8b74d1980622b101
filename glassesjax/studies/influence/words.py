"""The fixed words of the influence page: what was measured, in which sense, with what limits."""

LEAD = (
    "A decoder-only Transformer chooses its next token from one vector: the representation of the"
    " last token it has read. All earlier tokens act through it alone.",
    "How much can each of them still move it? Over-squashing says that the influence of some fades:"
    " they reach the last token by fewer and weaker paths than others.",
    "This page measures that influence in three conventions, which need not agree, and puts beside"
    " it what attention rollout supposes, the bound that the paper prints, and its repair.",
)

TEXT = (
    "The stronger the color of a token, the larger its share of the squares, in"
    " each of the conventions. Hold the pointer over a token for its numbers."
)

PASSAGES = (
    "Effective number of tokens at the embedding: the exponential of the entropy of the shares of"
    " squares. Figures and tables below are of the first passage."
)

GLOSSARY = {
    "|J|": "The Frobenius norm of the derivative J of the last representation in one token's"
    " residual stream v at one layer: how far the representation moves for a small change there,"
    " per unit of change. At the embedding, layer 0, it is the token's own vector that changes."
    " Where v is read through a norm, a vector twice as long has half the derivative and does"
    " the same: |J| favors short vectors.",
    "|J| |v|": "The same per relative change: times the length of the token's vector. It does not"
    " depend on a length that changes nothing.",
    "|J v|": "The size of the derivative along the vector itself: how far the last vector moves"
    " where the vector is made longer or shorter. A norm removes the length, so that it counts what"
    " the residual stream carries on and misses what the first norm reads.",
    "shares": "Of the sum over all tokens of the squares, which add up where norms do not.",
    "true attention, attention held fixed": "The derivative of the model as it is, in which a"
    " change of a token also changes who attends to whom; and the same with the attention weights"
    " kept as they were, which is what Theorem 5.1 presumes.",
    "Frobenius norm, operator norm": "The root of the sum of all squares of the derivative, and the"
    " factor by which it stretches at most. The bounds are on the operator norm, which is no larger"
    " than the Frobenius norm, and no smaller than it over the root of the width.",
    "rollout, π": "What attention weights alone suggest: in each layer the mean over heads, mixed"
    " with the residual stream by its measured share, multiplied through all layers.",
    "printed bound": "Theorem 5.1 of arXiv 2406.04267 with the constants of its proof, measured at"
    " this prompt: products of attention weights, norms of matrices and slopes along all paths.",
    "repaired bound": "The same with the derivative of the attention weights bounded as well. It"
    " holds for the model as it is.",
    "effective number of tokens": "The exponential of the entropy of the shares of squares: n for n"
    " equal shares, 1 where one token has everything.",
    "decades": "Factors of ten: a bound 3 decades above is 1000 times as large.",
}

METHODS = (
    "The operator norm lies between two ends: itself, where it was measured; else the Frobenius"
    " norm over the root of the width, and the Frobenius norm (of an estimate, three standard"
    " errors lower and higher). A bound holds where the upper end is no larger, is exceeded where"
    " the lower end is larger, and is undecided between. Measured operator norms (--method exact"
    " --spectral) leave nothing undecided.",
    "With true attention the printed bound promises nothing, since attention depends on the input:"
    " where it is exceeded, the hypothesis fails and not the theorem. With attention held fixed its"
    " hypothesis is met, and it must hold.",
    "How far a bound lies above is taken from the operator norm where it was measured, else from"
    " the Frobenius norm, which is named then: the operator norm is no larger.",
    "None of the conventions says how much of the last representation comes from a token: all are"
    " of small changes.",
    "How far a bound lies comes before whether it is exceeded: a bound many decades above what was"
    " measured would hold with any mistake smaller than that.",
    "All norms are L2. Derivatives are by reverse differentiation, with norms and attention as the"
    " model has them; none is a difference of two runs.",
)

ESTIMATED = (
    "Norms are estimated from {probes} random vectors of signs, pulled back through all layers at"
    " once. Each has its standard error, at the embedding {error} of |J| and {along} of |J v| (the"
    " median). The vectors are the same for all tokens, so neighboring errors are alike. An order"
    " of tokens stands only where their errors do not overlap."
)
EXACT = (
    "Norms are exact up to rounding in {dtype}: one derivative for each coordinate of the last"
    " representation."
)

PROFILE_CAPTION = (
    "Top: shares of the squares with {kind}, with one standard error shaded where they are"
    " estimated, and the rollout. Bottom: {norm}, within the ends of the operator norm (shaded),"
    " and the two bounds. The printed one speaks of attention held fixed only. A gap in a line is"
    " a zero."
)
SPECTRAL, FROBENIUS = "the operator norm", "the Frobenius norm, which the operator norm cannot top"
LAYERS_CAPTION = (
    "Share of each token in the squares of all that enters a layer, with {kind}, from the embedding"
    " at the bottom to the final norm at the top, where only the last token has any influence."
    " Bright is much. Each row adds up to one; gray is none at all."
)
