"""The generate page: what was written side by side, with the tokens that are still held."""

import importlib.resources
from collections.abc import Mapping, Sequence
from pathlib import PurePath

from glassesjax.files import Row
from glassesjax.report.document import document, glossary, origin, weights_of
from glassesjax.report.markup import Markup, bullets, element, table
from glassesjax.report.models import FOUR_BITS, MODELS
from glassesjax.report.numbers import MISSING
from glassesjax.studies.generate.sentences import (
    ENDED,
    generate_headlines,
    held,
    mean_logprob,
    rate,
    size,
)
from glassesjax.studies.generate.texts import Texts, shaded

LEAD = (
    "A Transformer carries the keys and values of all tokens from step to step. Bound that state,"
    " and after each token a policy names whom to forget.",
    "The stronger a token's ground, the more layers still hold it at the end.",
)
BESIDE = "Beside the text stands what the model writes when it keeps everything."
READING = (
    "Dashed line: where the prompt ends. A bar marks the first token that differs from the text"
    " beside it. Hovering over a token tells who holds it and when it was first forgotten. The last"
    " token was chosen and never read, so no layer holds it."
)
TERMS = {
    "slots": "How many tokens a layer holds between two steps.",
    "held": "Share of the layers (of their key-value heads, where each decides for itself) that"
    " still hold the token's key and value after the last token that was read.",
    "state": "Keys and values of all layers, with positions and attention received; one place more"
    " than slots, into which a new token is written before somebody is forgotten.",
    "log-probability": "Natural logarithm of the probability that the model, with the state that it"
    " had, gave to the token that was chosen; before temperature, top-k and top-p. A higher mean"
    " under one state says nothing of the quality of its text.",
    "tokens a second": "New tokens of all prompts together, without the prompt and without the step"
    " that compiles. A figure of this machine at that hour.",
}
METHODS = (
    "Both texts use the same seed: at the same step the same random numbers are drawn, so that the"
    " texts differ by the state alone until they part.",
    "Once they have parted, the two models read different texts; who holds what can then no longer"
    " be compared token by token.",
)


def generate_page(
    rows: Sequence[Row], settings: Mapping[str, object], provenance: Mapping[str, object]
) -> str:
    """One self-contained page on a generate run.

    Args:
      rows: Rows of the generate study.
      settings: The study's settings, shown as they are.
      provenance: Where the rows were made, shown as it is.

    Returns:
      An HTML document without scripts, links or outside resources. The same rows give the same
      text.

    Raises:
      ValueError: There are no rows.
    """
    texts = Texts(rows)
    row = texts.first_row(texts.policies[0])
    model = MODELS.get(str(row["model"]), PurePath(str(row["model"])).name)
    title = f"What {model} writes with {row['slots']} slots"
    pairs = [_pair(texts, prompt) for prompt in range(texts.count)]
    body = element(
        "main",
        _header(texts, title),
        _tiles(texts),
        element("h2", "What the rows say"),
        bullets(generate_headlines(rows), "says"),
        element("section", element("h2", "The texts"), element("p", READING), _scale(), *pairs),
        element("section", element("h2", "In numbers"), _numbers(texts)),
        glossary(TERMS),
        *_methods(texts),
        origin(settings, {**weights_of(row), **provenance}),
        element("footer", "Made by glassesjax from the rows of this run; every number is theirs."),
    )
    return document(
        title, body, importlib.resources.files("glassesjax.studies.generate") / "page.css"
    )


def _header(texts: Texts, title: str) -> Markup:
    row = texts.first_row(texts.policies[0])
    drawn = f"temperature {row['temperature']:g}" if row["temperature"] else "the best token"
    facts = [f"policy {row['policy']}", f"{row['layers']} layers", f"width {row['width']}"]
    facts += [f"prompt read {row['mode']}", drawn, str(row["dtype"]), f"seed {row['seed']}"]
    if row["spacing"] != "true":
        facts.append(f"positions {row['spacing']}")
    lead = (*LEAD, BESIDE) if len(texts.policies) > 1 else LEAD
    return element(
        "header",
        element("p", "glassesjax · generate", class_="kicker"),
        element("h1", title),
        *(element("p", sentence, class_="lead") for sentence in lead),
        element("p", " · ".join(facts), class_="facts"),
    )


def _methods(texts: Texts) -> list[Markup]:
    weights = str(texts.first_row(texts.policies[0]).get("weights", ""))
    said = list(METHODS) if len(texts.policies) > 1 else []
    if "q4" in weights.lower():
        said.append(FOUR_BITS.format(weights=weights))
    heading = element("h2", "Methods and caveats")
    return [element("section", heading, bullets(said, "says"))] if said else []


def _tiles(texts: Texts) -> Markup:
    own = texts.policies[0]
    row = texts.first_row(own)
    number, unit = size(row["bytes"]).split()
    read = [held(texts(own, prompt)) for prompt in range(texts.count)]
    held_by_all, total = sum(each[0] for each in read), sum(each[2] for each in read)
    agreed = [texts.agreement(prompt) for prompt in range(texts.count)]
    written = sum(len(texts(own, prompt).answer) for prompt in range(texts.count))
    known = [count for count in agreed if count is not None]
    same = str(sum(known)) if known else MISSING
    return element(
        "ul",
        _tile(number, unit, f"state of a text, {row['slots']} slots a layer"),
        _tile(rate(row), "a second", f"new tokens, {own}"),
        _tile(str(held_by_all), f"of {total}", "tokens read that all layers still hold"),
        _tile(same, f"of {written}", "new tokens before the full state's text differs"),
        class_="tiles",
    )


def _tile(figure: str, unit: str, said: str) -> Markup:
    shown = element("b", figure, " ", element("small", unit))
    return element("li", shown, element("span", said))


def _scale() -> Markup:
    said = element("span", "layers that still hold the token", class_="said")
    ends = element("span", "none"), element("span", "all")
    return element("p", ends[0], element("i"), ends[1], said, class_="scale")


def _pair(texts: Texts, prompt: int) -> Markup:
    columns = []
    agreed = texts.agreement(prompt)
    for policy in texts.policies:
        row, text = texts.first_row(policy), texts(policy, prompt)
        name = f"{policy}, {row['slots']} slots"
        columns.append(element("section", element("h4", name), shaded(text, agreed)))
    heading = element("h3", f"Text {prompt + 1}") if texts.count > 1 else ""
    return Markup(element("div", heading, element("div", *columns, class_="pair")))


def _numbers(texts: Texts) -> Markup:
    heads = ["text", "policy", "slots", "state", "prompt", "new tokens", "ended, because"]
    heads += ["mean log-probability", "held by all", "held by none", "tokens a second"]
    lines = [
        _line(texts, prompt, policy) for prompt in range(texts.count) for policy in texts.policies
    ]
    return table(heads, lines)


def _line(texts: Texts, prompt: int, policy: str) -> list[object]:
    row, text = texts.first_row(policy), texts(policy, prompt)
    all_, none, _ = held(text)
    mean = f"{mean_logprob(text):.2f}".replace("-", "\N{MINUS SIGN}")
    return [
        prompt + 1,
        policy,
        row["slots"],
        size(row["bytes"]),
        len(text.prompt),
        len(text.answer),
        ENDED[text.last["ended"]],
        mean,
        all_,
        none,
        rate(row),
    ]
