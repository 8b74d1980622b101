"""What the retention page says beside its numbers, and the numbers of the paper."""

PAPER_SLOTS = (256, 512, 1024, 2048)
# Mean steps by tag: arXiv 2401.06104v2, Table 5, for the tags that our classes stand for.
PAPER_STEPS = {
    "average": (249, 481, 897, 1537),
    "POS": (1134, 1393, 1736, 2061),
    "closing quote": (845, 1101, 1413, 1774),
    "$": (329, 724, 1276, 2123),
    ")": (379, 670, 1161, 1558),
    ".": (350, 645, 1117, 1677),
    "newline": (303, 550, 969, 1538),
    ",": (236, 453, 840, 1454),
    ":": (243, 492, 940, 1570),
    "CD": (301, 537, 940, 1557),
    "NN": (270, 527, 983, 1628),
    "NNS": (270, 526, 978, 1618),
    "NNP": (270, 517, 951, 1613),
    "NNPS": (321, 578, 1042, 1671),
    "JJ": (240, 480, 918, 1598),
    "RB": (223, 459, 892, 1566),
    "VB": (214, 426, 817, 1457),
    "VBD": (217, 432, 827, 1493),
    "VBN": (230, 462, 887, 1549),
    "VBG": (221, 445, 858, 1523),
    "VBZ": (219, 440, 844, 1492),
    "WDT": (223, 462, 903, 1604),
    "WP": (199, 405, 803, 1506),
    "WP$": (255, 539, 1121, 1920),
    "WRB": (207, 415, 800, 1502),
    "CC": (217, 437, 862, 1546),
    "PRP": (217, 424, 794, 1432),
    "PRP$": (189, 383, 745, 1386),
    "IN": (190, 385, 760, 1408),
    "DT": (190, 379, 734, 1363),
    "MD": (177, 378, 754, 1392),
    "TO": (182, 368, 734, 1363),
}
PAPER_RECENT = (0.73, 0.76)  # section 6: over its sizes, LLaMA-2-7B on PG-19

LEAD = (
    "A cache of bounded size is the state of an RNN: with each token that finds it full, one token"
    " is forgotten, in each layer another one perhaps.",
    "Which tokens stay? How long, in which layers, and does it depend on where they stand or on"
    " what they are?",
)

MAP = (
    "Each row is a step, each column a token; the darker, the more {decisions} still hold it. What"
    " is held because it is recent makes the diagonal; a vertical streak is a token that was kept"
    " for another reason. The strip on top gives each token's family of classes."
)
MAPS = (
    "The same, each layer by itself: dark where the token is held. Pictures of longer texts are"
    " averaged over blocks."
)
POSITION = (
    "Mean number of steps that a token can be attended to, over all {decisions}, by position."
    " Dotted: a window's, which is one more than its slots for each token that it drops."
)
CLASSES = (
    "Mean lifetime of each class over the mean of all tokens, with two standard errors over tokens."
    " Diamonds and bars: the tags of the paper's Table 5 that the class stands for, over the"
    " table's average, at the same share of the text, where the table has one. Beside a name: the"
    " number of its tokens."
)
LAYERS = (
    "Top: how much of what a layer holds is among the last k positions, in the mean over the steps;"
    " the band is the paper's 73 to 76 percent. Middle: how much of what it and the next layer hold"
    " is held by both. Bottom: for how long the first token is held."
)
TEXT = (
    "The stronger the color of a token, the more {decisions} still hold it after the last step."
    " Hold the pointer over a token for its numbers."
)

GLOSSARY = {
    "slots, k": "How many tokens a layer holds between two steps. Within a step one more is seen:"
    " the token that comes.",
    "steps, lifetime": "How many steps a token could be attended to: from its own to the one after"
    " which it is dropped, both counted. A token that is held to the end counts until the end.",
    "policy": "What decides whom to forget. tova: the token that the current query attends to"
    " least, in the mean over the heads. h2o: the one that received the least attention in all,"
    " half of the slots being kept for the newest, for each key-value head. window: the oldest. +4"
    " never drops the first four; -head decides for each key-value head, -layer for all of a"
    " layer.",
    "recent": "Among the last k positions, the current one included: what a window of the same size"
    " would hold.",
    "held by both": "Of the tokens that at least one of two layers holds, the share that both hold"
    " (Jaccard's index), in the mean over the steps from the first that dropped a token.",
    "survival mean": "The mean lifetime by the product-limit estimate, which does not take the"
    " text's end for the end of a token.",
    "class": "What kind of word or mark a token is: by closed lists of words, by marks and by"
    " capitals, not by a tagger. A piece that goes on with a word is a continuation.",
}

METHODS = (
    "The text is read token by token in effect (prefill mode exact): each decision comes after the"
    " step's own attention, and ties go to the smallest position.",
    "The mean lifetime of all tokens is no finding: each step sees min(t, k + 1) tokens, whoever"
    " they are, so that it follows from slots and length alone. The averages of the paper's Table 5"
    " are these numbers for 4096 tokens. Only how the steps are shared out tells of a policy, and"
    " therefore classes are compared by their ratio to the mean.",
    "Tokens near the end of the text have had little time. The lifetime as the paper counts it"
    " takes that for their end; the survival mean beside it does not, but presumes that late tokens"
    " live as early ones would.",
    "The paper tags words of PG-19 with NLTK under LLaMA-2-7B; here another model reads another"
    " text, and classes stand for tags only roughly. A comparison of orders, not of numbers.",
    "Tokens of one text are not independent. Standard errors are over tokens, and too small for a"
    " claim. Where a sentence says longer or shorter, or gives a rank correlation, its interval is"
    " over blocks of 64 tokens that are drawn again (4000 draws, seed 0). It speaks of more text of"
    " this kind, not of other texts.",
)

FOUR_BITS = (
    "The weights were quantized to about 4 bits before they came here ({weights}): this is the"
    " model as distributed, not as trained."
)
