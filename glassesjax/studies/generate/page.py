"""The generate page: what was written side by side, with the tokens that are still held."""

import importlib.resources
from pathlib import PurePath

from glassesjax.report.document import document, glossary, origin
from glassesjax.report.markup import Markup, bullets, element, table
from glassesjax.report.models import FOUR_BITS, MODELS
from glassesjax.report.numbers import MISSING
from glassesjax.runs.run import Result
from glassesjax.studies.generate.records import GenerateConstants, TokenRow
from glassesjax.studies.generate.sentences import generate_headlines, rate, size, why_ended
from glassesjax.studies.generate.summary import GenerateSummary, StateSummary, TextSummary
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


def generate_page(result: Result[TokenRow, GenerateConstants, GenerateSummary]) -> str:
    """One self-contained page on a generate run.

    Args:
      result: The run.

    Returns:
      An HTML document without scripts, links or outside resources. The same rows give the same
      text.
    """
    run, summary = result.run, result.summary
    constants = run.constants
    texts = Texts(run.rows)
    model = MODELS.get(constants.model, PurePath(constants.model).name)
    title = f"What {model} writes with {summary.own.slots} slots"
    pairs = [_pair(texts, summary, prompt, constants.num_layers) for prompt in range(texts.count)]
    body = element(
        "main",
        _header(constants, summary, title),
        _tiles(summary),
        element("h2", "What the rows say"),
        bullets(generate_headlines(summary), "says"),
        element("section", element("h2", "The texts"), element("p", READING), _scale(), *pairs),
        element("section", element("h2", "In numbers"), _numbers(summary)),
        glossary(TERMS),
        *_methods(constants, summary),
        origin(run.settings, run.made),
        element("footer", "Made by glassesjax from the rows of this run; every number is theirs."),
    )
    return document(
        title, body, importlib.resources.files("glassesjax.studies.generate") / "page.css"
    )


def _header(constants: GenerateConstants, summary: GenerateSummary, title: str) -> Markup:
    drawn = f"temperature {constants.temperature:g}" if constants.temperature else "the best token"
    facts = [f"policy {summary.own.policy}", f"{constants.num_layers} layers"]
    facts += [f"width {constants.model_dim}", f"prompt read {constants.mode}", drawn]
    facts += [constants.dtype, f"seed {constants.seed}"]
    if summary.own.position_ids != "original":
        facts.append(f"positions {summary.own.position_ids}")
    lead = (*LEAD, BESIDE) if summary.full else LEAD
    return element(
        "header",
        element("p", "glassesjax · generate", class_="kicker"),
        element("h1", title),
        *(element("p", sentence, class_="lead") for sentence in lead),
        element("p", " · ".join(facts), class_="facts"),
    )


def _methods(constants: GenerateConstants, summary: GenerateSummary) -> list[Markup]:
    weights = constants.weights or ""
    sentences = list(METHODS) if summary.full else []
    if "q4" in weights.lower():
        sentences.append(FOUR_BITS.format(weights=weights))
    heading = element("h2", "Methods and caveats")
    return [element("section", heading, bullets(sentences, "says"))] if sentences else []


def _tiles(summary: GenerateSummary) -> Markup:
    own = summary.own
    number, unit = size(own.bytes).split()
    same = MISSING if summary.agreement is None else str(summary.agreement)
    return element(
        "ul",
        _tile(number, unit, f"state of a text, {own.slots} slots a layer"),
        _tile(rate(own), "a second", f"new tokens, {own.policy}"),
        _tile(
            str(summary.retained_by_all),
            f"of {summary.read}",
            "tokens read that all layers still hold",
        ),
        _tile(
            same, f"of {summary.answer_tokens}", "new tokens before the full state's text differs"
        ),
        class_="tiles",
    )


def _tile(figure: str, unit: str, said: str) -> Markup:
    shown = element("b", figure, " ", element("small", unit))
    return element("li", shown, element("span", said))


def _scale() -> Markup:
    said = element("span", "layers that still hold the token", class_="said")
    ends = element("span", "none"), element("span", "all")
    return element("p", ends[0], element("i"), ends[1], said, class_="scale")


def _pair(texts: Texts, summary: GenerateSummary, prompt: int, num_layers: int) -> Markup:
    columns = []
    own = summary.prompts[prompt]
    for state, written in zip(summary.states, own.texts, strict=True):
        name = element("h4", f"{state.policy}, {state.slots} slots")
        text = shaded(
            texts(state.policy, prompt),
            own.agreement,
            cut=written.prompt_cut,
            num_layers=num_layers,
        )
        columns.append(element("section", name, text))
    heading = element("h3", f"Text {own.number}") if texts.count > 1 else ""
    return Markup(element("div", heading, element("div", *columns, class_="pair")))


def _numbers(summary: GenerateSummary) -> Markup:
    heads = ["text", "policy", "slots", "state", "prompt", "new tokens", "ended, because"]
    heads += ["mean log-probability", "held by all", "held by none", "tokens a second"]
    lines = [
        [prompt.number, *_line(state, text)]
        for prompt in summary.prompts
        for state, text in zip(summary.states, prompt.texts, strict=True)
    ]
    return table(heads, lines)


def _line(state: StateSummary, text: TextSummary) -> list[object]:
    mean = f"{text.mean_logprob:.2f}".replace("-", "\N{MINUS SIGN}")
    return [
        state.policy,
        state.slots,
        size(state.bytes),
        text.prompt_tokens,
        text.answer_tokens,
        why_ended(text.ended),
        mean,
        text.retained_by_all,
        text.retained_by_none,
        rate(state),
    ]
