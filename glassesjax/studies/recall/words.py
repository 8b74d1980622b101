"""The fixed words of the recall page."""

LEAD = (
    "A passage of the King James Bible is read into a bounded state, which must forget on the way."
    " Only then a question is asked whose answer stood in the passage.",
    "What was kept decides what can be said. Beside the answer stands how surprising the expected"
    " one was, which tells more of a small model than whether it says it.",
)

GLOSSARY = {
    "exact": "The answer is the expected one, in lower case, without punctuation and articles. Its"
    " interval is Wilson's at 95 %.",
    "F1": "Overlap of the words of both: twice the common ones over all.",
    "nats a token": "Negative log probability of the expected answer, read token by token after the"
    " question under the same policy, over its tokens. 0 is certainty; less is better.",
    "held": "The share of the tokens of the line with the answer that the layers still hold when"
    " the question is asked, the mean over all layers. What was read of a token lives on in later"
    " ones: a token that is gone is not a token without effect.",
    "truncated": "The full model that reads as many last tokens of passage and question as there"
    " are slots, and nothing before them: what a short context alone gives.",
    "depth": "Where the line with the answer begins, as a share of the passage.",
    "verse": "The task: a verse's words by its reference (and by a hint, its first words).",
    "said": "The task: who spoke, by the first words spoken.",
}

METHODS = (
    "The model may know the Bible by heart. What truncated answers about lines that it has not read"
    " says how far.",
    "A question comes with a solved one about another line, behind the passage. Both take slots.",
    "Questions about one passage are not independent, and the interval takes them as if they were:"
    " it is too narrow where there are few passages.",
    "Answers are greedy, and end with the line.",
)

SLOTS_CAPTION = (
    "Nats a token of the expected answer against the number of slots, mean over all questions;"
    " dashed, with everything kept. Lower is better."
)
DEPTH_CAPTION = (
    "The same by depth, with the fewest slots that were measured: 0 is the passage's beginning, and"
    " the question stands at its end."
)
