"""The influence study: how much each token moves the last representation, beside what bounds it.

For each layer and token: the derivative of the last representation in that token's residual
stream, measured with true attention and with attention weights held fixed, beside the rollout, the
printed bound of Theorem 5.1 (which presumes fixed weights) and its repair (which does not).
"""

import dataclasses
import itertools
from collections.abc import Callable, Iterator
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from glassesjax import draws
from glassesjax.errors import BadInput
from glassesjax.model.decoder import Decoder
from glassesjax.model.pretrained import TOY_POSITIONS, LanguageModel, is_toy
from glassesjax.model.tokenizer import SymbolTokenizer
from glassesjax.records import Row, Value, provenance
from glassesjax.studies.influence_rows import Bounds, Subject, influence_rows, log_bound
from glassesjax.studies.opening import encoding_name, open_one
from glassesjax.tasks.sequences import BOS, run_family
from glassesjax.tasks.text import DEFAULT_TEXT, read_text
from glassesjax.theory.blocks import repaired_rollout
from glassesjax.trace.influence import Influence, estimated_influence, exact_influence
from glassesjax.trace.rollout import (
    Rollout,
    block_stack,
    check_bounded,
    check_past,
    printed_bound,
    rollout,
)

# What tells one row of a run from another.
KEY = ("attention", "layer", "position")


@dataclasses.dataclass(frozen=True, kw_only=True)
class InfluenceSettings:
    """How much does each token still move the last representation, and what bounds it?"""

    model: str
    """toy, smollm2, or the path of a .gguf file of the llama architecture."""
    prompt: str = ""
    """The text itself; for toy, digits and commas."""
    text: str | None = None
    """Where the prompt is taken from if none is given: ferry (if absent), a story that comes with
    this package, kjv, a novel by Jane Austen (persuasion, emma), or a UTF-8 file. Not for toy,
    which takes random digits."""
    max_tokens: int = 64
    """Most tokens of the prompt, with the one that begins it: a longer text is cut there, a
    shorter one is read whole."""
    method: Literal["estimated", "exact"] = "estimated"
    """estimated: random probes, with standard errors. exact: one pullback for each coordinate of
    the last representation."""
    probes: int = 32
    """Number of random probes."""
    spectral: tuple[int, ...] | None = None
    """Layers whose operator norms are measured as well; exact only, 0 is the embedding (0 if
    absent)."""
    attention: tuple[Literal["true", "frozen"], ...] = ("true", "frozen")
    """Derivatives through the attention weights as well, or with these held fixed."""
    format: Literal["f32", "f64"] = "f32"
    """Arithmetic of passes and derivatives."""
    positions: str = "none"
    """For toy: the positional encoding."""
    seed: int = 0
    """Seed of the probes and the random digits; of the toy and of a run folder, which decoder."""

    @property
    def spectral_layers(self) -> tuple[int, ...]:
        """Layers whose operator norms are measured: those asked for, or the default."""
        if self.spectral is None:
            return (0,) if self.method == "exact" else ()
        return self.spectral

    def __post_init__(self) -> None:
        layers = self.spectral_layers
        for holds, wanted, found in (
            (self.max_tokens >= 1, "--max-tokens of 1 or more", self.max_tokens),
            (self.probes >= 2, "--probes of 2 or more", self.probes),
            (
                len(set(layers)) == len(layers) and min(layers, default=0) >= 0,
                "different --spectral layers from 0",
                layers,
            ),
            (
                len(set(self.attention)) == len(self.attention) > 0,
                "different kinds of --attention",
                self.attention,
            ),
            (0 <= self.seed < 2**32, "a seed from 0 to 2^32 - 1", self.seed),
            (
                self.positions in TOY_POSITIONS,
                f"--positions out of {', '.join(TOY_POSITIONS)}",
                self.positions,
            ),
        ):
            if not holds:
                raise BadInput(f"Wanted {wanted}; found {found}.")
        if self.positions != "none" and not is_toy(self.model):
            raise BadInput(f"Wanted --positions with the toy only; {self.model} has its own.")
        self._check_used()

    def _check_used(self) -> None:
        """Refuses what was given and would be passed over."""
        if self.spectral is not None and self.method != "exact":
            wanted = "Wanted --spectral with --method exact only; found --method estimated"
            raise BadInput(f"{wanted}: leave one of the two out.")
        if self.text is not None and is_toy(self.model):
            wanted = "Wanted --text with a model that reads text; found toy"
            raise BadInput(f"{wanted}: give it digits and commas by --prompt, or leave --text out.")
        if self.text is not None and self.prompt:
            raise BadInput("Wanted --prompt or --text; found both: leave one of the two out.")


def open_subject(settings: InfluenceSettings) -> Subject:
    """The model and its prompt.

    Args:
      settings: What is to be measured.

    Returns:
      Both, the prompt cut to ``max_tokens``.

    Raises:
      BadInput: The model or the text cannot be opened, the prompt is empty or longer than the
        model's context, a layer is not there, or the model has no rollout to its last token.
    """
    model = open_one(settings)
    config, tokens = model.decoder.config, _tokens(settings, model)
    if not tokens:
        raise BadInput("Wanted a prompt of one token or more; found an empty text.")
    if config.max_length is not None and len(tokens) > config.max_length:
        wanted = f"Wanted at most {config.max_length} tokens, the context"
        raise BadInput(f"{wanted}; the prompt has more: use a lower --max-tokens.")
    if max(settings.spectral_layers, default=0) > config.num_layers:
        wanted = f"Wanted --spectral layers from 0 to {config.num_layers}"
        raise BadInput(f"{wanted}; found {max(settings.spectral_layers)}.")
    try:
        check_past(config, len(tokens))
    except ValueError as error:
        raise BadInput(str(error)) from error
    check_bounded(config)
    return Subject(model, tokens)


def _tokens(settings: InfluenceSettings, model: LanguageModel) -> tuple[int, ...]:
    context, tokenizer = model.decoder.config.max_length, model.tokenizer
    # One over the context tells that there are too many, and no more need be made.
    limit = settings.max_tokens if context is None else min(settings.max_tokens, context + 1)
    if isinstance(tokenizer, SymbolTokenizer):
        digits = run_family("doubled_digits").pair(limit, settings.seed)[0]
        symbols = (BOS, *(settings.prompt or digits))
        return tokenizer.encode_symbols(symbols)[:limit]
    text = settings.prompt or read_text(settings.text or DEFAULT_TEXT)
    return tuple(itertools.islice(tokenizer.stream(text), limit))


def measure(
    settings: InfluenceSettings,
    subject: Subject,
    done: Callable[[Row], bool] = lambda row: False,
) -> Iterator[tuple[str, list[Row]]]:
    """Measures one kind of attention after the other.

    Source: arXiv 2406.04267v2, Theorem 5.1.
    Differs: measured beside the bound, at every layer; the paper draws no measured derivative.

    Args:
      settings: What to measure.
      subject: Float32 weights and the prompt.
      done: Whether the row with these key fields is there already; whole kinds are left out.

    Yields:
      What was done and its rows. First the bounds, which have none of their own, then each kind of
      attention with one row for each layer and token.
    """
    layers, length = subject.model.decoder.config.num_layers, len(subject.tokens)
    last_key = {"layer": layers, "position": length - 1}
    wanted = [kind for kind in settings.attention if not done({"attention": kind, **last_key})]
    if not wanted:
        return
    with jax.enable_x64(settings.format == "f64"):
        decoder = _in_format(subject.model.decoder, settings.format)
        bounds = _bounds(decoder, jnp.asarray(subject.tokens))
        last_finite = _last_is_finite(decoder, jnp.asarray(subject.tokens))
    # A step of its own: with many tokens it takes as long as a kind of attention.
    yield f"bounds for {' and '.join(wanted)}", []
    shared = {**_shared(settings, subject), "last_finite": last_finite}
    for kind in wanted:
        with jax.enable_x64(settings.format == "f64"):
            found = _influence(settings, decoder, jnp.asarray(subject.tokens), kind == "frozen")
        rows = influence_rows(subject, found, bounds, settings.spectral_layers)
        yield kind, [{**shared, "attention": kind, **row} for row in rows]


def _in_format(decoder: Decoder, name: str) -> Decoder:
    dtype = {"f32": jnp.float32, "f64": jnp.float64}[name]
    return jax.tree.map(lambda weight: weight.astype(dtype), decoder)


def _bounds(decoder: Decoder, tokens: jax.Array) -> Bounds:
    plain, printed = jax.jit(rollout)(decoder, tokens), jax.jit(printed_bound)(decoder, tokens)
    repaired = jax.jit(_repaired)(decoder, tokens)
    wide = lambda x: np.asarray(x, np.float64)
    return Bounds(wide(plain.profile), wide(plain.shares), log_bound(printed), log_bound(repaired))


def _last_is_finite(decoder: Decoder, tokens: jax.Array) -> bool:
    last = jax.jit(lambda decoder, tokens: decoder.represent(decoder.enter(tokens))[0][-1])
    return bool(np.isfinite(np.asarray(last(decoder, tokens))).all())


def _repaired(decoder: Decoder, tokens: jax.Array) -> Rollout:
    return repaired_rollout(block_stack(decoder, tokens))


def _influence(
    settings: InfluenceSettings, decoder: Decoder, tokens: jax.Array, frozen: bool
) -> Influence:
    if settings.method == "estimated":
        key, probes = draws.root_key(settings.seed), settings.probes
        found = estimated_influence(
            decoder, tokens, key=key, probes=probes, freeze_attention=frozen
        )
        return jax.device_get(found)
    layers = settings.spectral_layers
    return jax.device_get(
        exact_influence(decoder, tokens, spectral=layers, freeze_attention=frozen)
    )


def _shared(settings: InfluenceSettings, subject: Subject) -> dict[str, Value]:
    config = subject.model.decoder.config
    dtype = {"f32": "float32", "f64": "float64"}[settings.format]
    return {
        "study": "influence",
        "model": subject.model.name,
        "positions": encoding_name(subject.model, settings.positions),
        **provenance(),
        **subject.model.columns,
        "seed": settings.seed,
        "method": settings.method,
        "probes": settings.probes if settings.method == "estimated" else None,
        "dtype": dtype,
        "rounding": "none",
        "norm": "operator norm, L2 to L2; frobenius where named so",
        "width": config.model_dim,
        "layers": config.num_layers,
        "prompt_tokens": len(subject.tokens),
    }
