"""The bounded study: collapse and influence in a model with a bounded cache.

*Collapse*: how far apart the last representations of runs of n and n + 1 are under a policy. Under
a policy that decides token by token the prefix identity still holds, so one reading of the longest
run gives the whole curve. *Influence*: how much the last representation of a text still moves with
each token's embedding, through the states that a policy left, and which were still cached.
"""

import functools
import itertools
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp

from glassesjax import draws
from glassesjax.cache import check_context, policy, resolve_slots, unroll
from glassesjax.cache.pruned import last_seen, probe, read
from glassesjax.errors import BadInput
from glassesjax.files import Row
from glassesjax.model.decoder import Decoder
from glassesjax.model.language import LanguageModel, ModelHeader
from glassesjax.model.narrow import under
from glassesjax.model.opening import (
    check_unread,
    reading_limit,
    whole_prompt,
)
from glassesjax.model.prompts import numbered_prompt
from glassesjax.model.tokenizer import SymbolTokenizer
from glassesjax.precision import F64
from glassesjax.precision.arithmetic import rounds_passes
from glassesjax.runs.model_fields import overflow_fields, with_overflow
from glassesjax.studies.bounded.records import DistanceRow, TokenRow
from glassesjax.studies.bounded.rows import (
    Cell,
    Pruned,
    collapse_rows,
    influence_rows,
    lay_out,
)
from glassesjax.studies.bounded.settings import BoundedSettings
from glassesjax.tasks.sequences import BOS, run_family
from glassesjax.tasks.text import DEFAULT_TEXT, read_text
from glassesjax.theory.blocks import repaired_rollout
from glassesjax.trace.influence import estimated_influence, exact_influence
from glassesjax.trace.rollout import Rollout, block_stack, check_bounded, rollout
from glassesjax.trace.sizes import check_derivatives, check_probes

CHUNK = 64  # tokens that go through projections together: short texts would fill more in vain


def cells(
    settings: BoundedSettings, positions: str, model: ModelHeader | LanguageModel
) -> list[Cell]:
    """The cells of one model, capacities resolved.

    Returns:
      One record for each policy, capacity and family of runs, or text.

    Raises:
      BadInput: A prompt is longer than the context, a policy cannot work with so few slots, or no
        bound is known for the model.
    """
    config, tokenizer, resolved = model.config, model.tokenizer, []
    dtype = settings.plan.dtype
    exact, itemsize = settings.method == "exact", jnp.dtype(dtype).itemsize
    # Before a text is read: what the model or the memory rules out, whatever the text.
    if "influence" in settings.kinds and exact and not rounds_passes(settings.plan):
        check_bounded(config)
    if "influence" in settings.kinds and not exact:
        check_probes(config, settings.probes, itemsize)
    families = settings.families if "collapse" in settings.kinds else ()
    runs = {name: lay_out(name, settings.lengths, settings.seed, model) for name in families}
    longest = {name: run.trunk for name, run in runs.items()}
    texts: dict[str, tuple[int, ...]] = {}
    if "influence" in settings.kinds:
        limit = reading_limit(settings.max_tokens, config)
        if settings.prompt_tokens:
            numbers = numbered_prompt(settings.prompt_tokens, config.vocab_size)
            tokens = whole_prompt(numbers, settings.max_tokens, config)
        elif isinstance(tokenizer, SymbolTokenizer):
            check_unread(settings.text, settings.model)
            if settings.prompt:
                symbols = tokenizer.encode_symbols((BOS, *settings.prompt))
                tokens = whole_prompt(symbols, settings.max_tokens, config)
            else:
                digits = run_family("doubled_digits").pair(limit, settings.seed)[0]
                tokens = tokenizer.encode_symbols((BOS, *digits))[:limit]
        elif settings.prompt:
            tokens = whole_prompt(tokenizer.stream(settings.prompt), settings.max_tokens, config)
        else:
            # A stream, so that a long text is tokenized only up to the limit.
            text = read_text(settings.text or DEFAULT_TEXT)
            tokens = tuple(itertools.islice(tokenizer.stream(text), limit))
        if not tokens:
            expected = "Expected a text of one token or more"
            raise BadInput(f"{expected}, got an empty one: choose another.")
        check_derivatives(config, len(tokens), itemsize, spectral=exact)
        texts[""] = tokens  # of no family
    for kind in settings.kinds:
        of_kind = longest if kind == "collapse" else texts
        for family, tokens in of_kind.items():
            for name, budget in settings.pairs:
                rule = policy(name)
                check_context(config, rule, len(tokens))
                slots = resolve_slots(budget, config, rule, length=len(tokens), dtype=settings.plan)
                resolved.append(
                    Cell(kind, positions, rule, slots, family, tokens, runs.get(family))
                )
    # Several budgets may come to the same number of slots.
    return list({cell.key: cell for cell in resolved}.values())


def measure(
    settings: BoundedSettings,
    positions: str,
    model: LanguageModel,
    done: Callable[[Row], bool] = lambda row: False,
) -> Iterator[tuple[str, list[DistanceRow | TokenRow]]]:
    """Measures one model, cell by cell.

    Source: arXiv 2406.04267v2, Theorems 4.2 and 5.1, under the policies of arXiv 2401.06104v2.

    Args:
      settings: Settings of the study.
      positions: Name of the positional encoding, for the rows.
      model: Its weights as they were read.
      done: Whether the row with these key fields exists already; whole cells are skipped.

    Raises:
      BadInput: As ``cells``.
    """
    # Rows of a cell are written in order, so that its last one shows that it is whole.
    wanted = [cell for cell in cells(settings, positions, model) if not done(cell.last_key)]
    plan = settings.plan
    for cell in wanted:
        rows: list[DistanceRow | TokenRow] = []
        with jax.enable_x64(plan.carrier == F64):
            decoder = under(model.decoder, plan)
            tokens = jnp.asarray(cell.tokens, jnp.int32)
            reading = read(unroll(decoder), tokens, cell.policy, slots=cell.slots, chunk=CHUNK)
            if cell.runs is not None:
                # One dense pass for all prompts: of the text itself, and of a token after prefixes.
                sides = cell.runs.tried, cell.runs.after
                tried, after = (jnp.asarray(side, jnp.int32) for side in sides)
                dense = jax.device_get(probe(decoder, tokens, tried, after, reading.evicted_at))
                rows += collapse_rows(cell, decoder, reading, dense)
            else:
                # (groups, seq) of each layer -> (layers, seq, groups)
                until = last_seen(reading.evicted_at)
                if settings.method == "exact":
                    influence = exact_influence(
                        decoder, tokens, layers=(0,), spectral=(0,), until=until
                    )
                else:
                    key, probes = draws.root_key(settings.seed), settings.probes
                    influence = estimated_influence(
                        decoder, tokens, key=key, probes=probes, until=until
                    )
                # It is on the operator norm, which is not estimated, of a pass without rounding.
                bound = None
                if settings.method == "exact" and not rounds_passes(plan):
                    bound = _paths(decoder, tokens, until, repaired=True)
                paths = _paths(decoder, tokens, until, repaired=False)
                pruned = Pruned(*jax.device_get((influence, paths, bound)))
                text = [model.tokenizer.token_text(token) for token in cell.tokens]
                rows += influence_rows(cell, reading, pruned, text)
            find = functools.partial(overflow_fields, model.decoder, plan, cell.tokens)
            rows = with_overflow(rows, lambda row: not row.finite, find)
        yield cell.name, rows


@functools.partial(jax.jit, static_argnames="repaired")
def _paths(decoder: Decoder, tokens: jax.Array, until: jax.Array, *, repaired: bool) -> Rollout:
    # Two programs: where norms are estimated the bound is not computed.
    if repaired:
        return repaired_rollout(block_stack(decoder, tokens, until=until))
    return rollout(decoder, tokens, until=until)
