"""The longform study: long texts generated with a bounded cache.

From one prompt each policy generates texts with the same random keys; each is measured by its
length, its repetitions, and its perplexity under the same model with the full cache.
"""

import functools
import itertools
from collections.abc import Callable, Iterator

import jax

from glassesjax.cache import (
    check_context,
    policy,
    resolve_slots,
    state_bytes,
    unroll,
)
from glassesjax.cache.generate import generate
from glassesjax.errors import BadInput
from glassesjax.files import Row
from glassesjax.model.narrow import under
from glassesjax.model.opening import open_one
from glassesjax.model.prompts import numbered_prompt
from glassesjax.model.tokenizer import SymbolTokenizer
from glassesjax.precision import F64
from glassesjax.runs.model_fields import overflow_fields, with_overflow
from glassesjax.studies.longform.records import LongformRow
from glassesjax.studies.longform.rows import Cell, Subject, full_loss, text_row
from glassesjax.studies.longform.settings import LongformSettings
from glassesjax.tasks.sequences import BOS

STORY = (
    "The lighthouse keeper's daughter had never seen the other side of the bay. On the morning that"
    " the fog did not lift, she took the small boat, a loaf of bread and her father's lamp, and"
    " began to row."
)
DIGITS = "0123456789"  # the story of a toy


def open_subject(settings: LongformSettings) -> Subject:
    """The model, its prompt, and the ways to write.

    Raises:
      BadInput: The model cannot be opened, it has no chat template where one is wanted, a policy
        cannot work with a number of slots, or the text would leave the model's context.
    """
    header = open_one(settings, settings.positions)
    tokenizer, config = header.tokenizer, header.config
    if settings.prompt_tokens:
        prompt = numbered_prompt(settings.prompt_tokens, config.vocab_size)
    elif isinstance(tokenizer, SymbolTokenizer):
        if settings.chat:
            raise BadInput("Expected --chat with a model that reads text, got toy: leave it out.")
        prompt = tokenizer.encode_symbols((BOS, *(settings.prompt or DIGITS)))
    elif settings.chat:
        content = settings.prompt or STORY
        prompt = tokenizer.encode_chat([{"role": "user", "content": content}])
    else:
        prompt = tokenizer.encode(settings.prompt or STORY)
    # A share as a budget is one of prompt and text.
    length = len(prompt) + settings.max_tokens
    plan, rows = settings.plan, settings.samples
    check_context(config, policy("full"), length)
    slots_of = lambda budget, rule: resolve_slots(
        budget, config, rule, length=length, dtype=plan, rows=rows, of="--samples"
    )
    # Raises an error where the full cache of all texts does not fit into memory.
    slots_of("", policy("full"))
    # By resolved size: 25% and 64 may be one cell. The full cache is first, as others need its
    # texts.
    cells = {("full", length): Cell("full", policy("full"), length)}
    for name, budget in itertools.product(settings.policies, settings.slots):
        rule = policy(name)
        slots = slots_of(budget, rule)
        cells[name, slots] = Cell(name, rule, slots)
    # The weights are read last, after all that can be refused by the header alone.
    return Subject(header.read(), prompt, tokenizer.ends, tuple(cells.values()))


def measure(
    settings: LongformSettings,
    subject: Subject,
    done: Callable[[Row], bool] = lambda row: False,
) -> Iterator[tuple[str, list[LongformRow]]]:
    """Generates texts with the full cache, then under each policy.

    Source: arXiv 2401.06104v2, section on text generation.
    Differs: no judge; each text is measured for itself and beside the full model's.

    Args:
      settings: Settings of the study.
      subject: Weights as they were read, prompt and cells.
      done: Whether the row with these key fields exists already; whole cells are skipped, but
        the full state's texts are written once more where others must be compared with them.

    Yields:
      The name of each cell and its rows, one a text.
    """
    # Rows of a cell are written together, in order: where the last is on disk, so are the others.
    last = settings.samples - 1
    there = [done({"policy": c.name, "slots": c.slots, "sample": last}) for c in subject.cells]
    if all(there):
        return
    # Only while it computes, not across a yield: the caller keeps its own setting.
    plan = settings.plan
    with jax.enable_x64(plan.carrier == F64):
        model = unroll(under(subject.model.decoder, plan))
    full: list[list[int]] = []
    for cell, has in zip(subject.cells, there, strict=True):
        if has and cell.policy.bounded:
            continue
        with jax.enable_x64(plan.carrier == F64):
            texts: list[list[int]] = [[] for _ in range(settings.samples)]
            for step in generate(
                model,
                [subject.prompt] * settings.samples,
                cell.policy,
                slots=cell.slots,
                max_tokens=settings.max_tokens,
                sampling=settings.sampling,
                seed=settings.seed,
                mode=settings.mode,
                stop=subject.ends,
            ):
                # (rows,) -> a token for each text; an ended row goes on, but is not fresh.
                for text, token, fresh in zip(texts, step.token, step.fresh, strict=True):
                    if fresh:
                        text.append(int(token))
            full = full or texts  # the first cell is the full cache's
            size = state_bytes(model.outer.config, cell.policy, cell.slots, model.outer.plan)
            rows = []
            for number, text in enumerate([] if has else texts):
                loss = full_loss(model, subject.prompt, text, room=subject.cells[0].slots)
                row = text_row(subject, cell, text, full[number], loss, sample=number, size=size)
                find = functools.partial(
                    overflow_fields, subject.model.decoder, plan, (*subject.prompt, *text)
                )
                lost = lambda row: row.loss is not None and not row.loss.finite
                rows += with_overflow([row], lost, find)
        yield f"{cell.name} with {cell.slots} slots", rows
