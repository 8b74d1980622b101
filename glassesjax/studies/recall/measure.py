"""The recall study: answers to questions about a passage after it was cached under a policy.

A passage of the King James Bible is processed under a policy; questions follow whose answers are in
it at different depths. Each row is one answer, with the expected one.
"""

import functools
import itertools
from collections.abc import Callable, Iterator

import jax

from glassesjax.cache import check_context, state_bytes, unroll
from glassesjax.cache.baselines import named_policy, named_slots
from glassesjax.errors import BadInput
from glassesjax.files import Row
from glassesjax.memory import check_memory
from glassesjax.model.config import DecoderConfig
from glassesjax.model.narrow import under
from glassesjax.model.opening import open_one
from glassesjax.model.tokenizer import TextTokenizer
from glassesjax.precision import F64
from glassesjax.runs.model_fields import overflow_fields, with_overflow
from glassesjax.studies.recall.reading import Cell, Reading, Subject, longest, reading, written
from glassesjax.studies.recall.records import RecallRow
from glassesjax.studies.recall.rows import recall_rows
from glassesjax.studies.recall.settings import TRUNCATED, RecallSettings
from glassesjax.tasks.bible import passages
from glassesjax.tasks.text import king_james_verses

PASSAGE = 512  # bytes of one with its questions, at the least


def open_subject(settings: RecallSettings) -> Subject:
    """The model, its passages, and the ways to read them.

    Raises:
      BadInput: The model or the Bible cannot be opened, no passage is so long, a policy cannot work
        with a number of slots, or positions would exceed the model's context.
    """
    header = open_one(settings, "none")
    tokenizer = header.tokenizer
    if not isinstance(tokenizer, TextTokenizer):
        got = settings.model
        raise BadInput(f"Expected a model that reads text, got {got}: choose another.")
    number = settings.items * len(settings.tasks) * len(settings.lengths)
    check_memory(PASSAGE * number, f"{settings.items} --items", "use fewer")
    for name in settings.policies:  # before a book is counted: a passage is read whole
        if name != TRUNCATED:
            check_context(header.config, named_policy(name, TRUNCATED), max(settings.lengths))
    verses, opening = king_james_verses(), len(tokenizer.encode(""))
    # The same lines are counted for every task and length. The opening of a text is no part of one.
    count = functools.cache(lambda text: len(tokenizer.encode(text)) - opening)
    readings = tuple(
        reading(passage, tokenizer)
        for task, length in itertools.product(settings.tasks, settings.lengths)
        for passage in passages(
            task,
            verses,
            length=length,
            depths=settings.depths,
            number=settings.items,
            words=settings.words,
            hint=settings.hint,
            count=count,
            seed=settings.seed,
        )
    )
    ways = cells(settings, header.config, readings)
    # The weights are read last, after all that can be refused by the header alone.
    return Subject(header.read(), tokenizer, readings, ways)


def cells(
    settings: RecallSettings, config: DecoderConfig, readings: tuple[Reading, ...]
) -> tuple[Cell, ...]:
    """Policies with their sizes, each once.

    Returns:
      In the order of the settings; ``full`` has room for the longest of all.

    Raises:
      BadInput: A policy cannot work with a number of slots, or the context is too short.
    """
    length, plan = longest(readings), settings.plan
    resolved: dict[tuple[str, int], Cell] = {}
    for name, budget in itertools.product(settings.policies, settings.slots):
        rule, baseline = named_policy(name, TRUNCATED), TRUNCATED if name == TRUNCATED else ""
        slots = named_slots(budget, config, rule, baseline=baseline, length=length, dtype=plan)
        # The baseline reads the newest tokens alone, each text from position 0.
        reads = min(length, slots + written(readings)) if baseline else length
        check_context(config, rule, reads)
        # By resolved size: 25% and 64 may be one cell, and the full cache has one size only.
        resolved[name, slots] = Cell(name, rule, slots)
    return tuple(resolved.values())


def measure(
    settings: RecallSettings,
    subject: Subject,
    done: Callable[[Row], bool] = lambda row: False,
) -> Iterator[tuple[str, list[RecallRow]]]:
    """Processes each passage under all policies, and answers its questions.

    Source: arXiv 2401.06104v2, section on long-range understanding.
    Differs: questions of ours with one correct answer each; the probability of that answer is
    measured besides the generated answer, since a small model is rarely correct; and in every mode
    tokens are evicted before the question is known.

    Args:
      settings: Settings of the study.
      subject: Weights as they were read, passages and cells.
      done: Whether the row with these key fields exists already; a passage is left out under a
        policy where all its questions are there.

    Yields:
      The name of each passage and policy, and its rows, one a depth.
    """
    # Only while it computes: whoever takes the rows keeps their own setting.
    with jax.enable_x64(settings.plan.carrier == F64):
        plan = settings.plan
        model = unroll(under(subject.model.decoder, plan))
    for one, cell in itertools.product(subject.readings, subject.cells):
        passage = one.passage
        key = {"task": passage.task, "length": passage.length, "item": passage.number}
        key |= {"policy": cell.name, "slots": cell.slots}
        if all(done({**key, "depth": depth}) for depth in settings.depths):
            continue
        size = state_bytes(model.outer.config, cell.policy, cell.slots, plan)
        mode, tokenizer, words = settings.mode, subject.tokenizer, settings.words
        with jax.enable_x64(settings.plan.carrier == F64):
            rows = recall_rows(
                model, one, cell, size=size, mode=mode, tokenizer=tokenizer, words=words
            )
            find = functools.partial(overflow_fields, subject.model.decoder, plan, one.tokens)
            # Computed here, where the setting holds.
            rows = with_overflow(rows, lambda row: not row.finite, find)
        name = f"{passage.task} {passage.length} {passage.number}"
        yield f"{name}: {cell.name} with {cell.slots} slots", rows
