"""Made runs whose pages show what the stored ones do not: several of a kind, failures, gaps."""

import dataclasses
import math
from pathlib import Path

import numpy as np
from studies.bounded.made_bounded import made_distances, made_tokens
from studies.bounded.made_bounded import result_of as bounded
from studies.collapse.made_rows import made_result as collapse
from studies.collapse.made_rows import made_rows as collapse_rows
from studies.generate.made_generate import made_result as generate
from studies.generate.made_generate import made_rows as generate_rows
from studies.influence.made_influence import made_passages, made_rows, unbounded, without_numbers
from studies.influence.made_influence import made_result as influence
from studies.influence.made_influence import result_of as influence_of
from studies.longform.made_longform import made as longform_row
from studies.longform.made_longform import made_result as longform
from studies.perplexity.made_perplexity import in_formats
from studies.perplexity.made_perplexity import made_result as perplexity
from studies.perplexity.made_perplexity import made_rows as perplexity_rows
from studies.recall.made_recall import made as recall_rows
from studies.recall.made_recall import made_result as recall
from studies.retention.made_retention import TOVA
from studies.retention.made_retention import made_rows as retention_rows
from studies.retention.made_retention import run_of as retention_run
from studies.train import made_train as train

import glassesjax
from glassesjax.studies.retention.run import result as retention_result
from glassesjax.studies.train.records import WrongPairs
from glassesjax.studies.train.run import result as train_result
from glassesjax.surveys.sweep.run import result as sweep_result
from proofs_numeric.verify.run import result as verify_result


def _collapse():
    wide = {"positions": ("none", "rotary"), "formats": ("f64", "f32", "bf16")}
    lengths = tuple(2**at for at in range(9))
    of_text = {"text_round_trips": True, "token_characters": 2.75}
    of_symbols = lambda row: {"text_round_trips": row["length"] < 3, "token_characters": 1.0}
    rows = collapse_rows(families=("ones_text", "ones_bos"))
    yield (
        "text",
        collapse(
            [row | (of_text if row["family"] == "ones_text" else of_symbols(row)) for row in rows]
        ),
    )
    yield "encodings", collapse(**wide, lengths=lengths)
    yield "not-finite", collapse(**wide, signal=lambda n: None if n == 8 else 1 / n)
    yield "equal", collapse(signal=lambda n: 0.0)
    yield "one-length", collapse(lengths=(1,))
    yield "one-family", collapse(families=("ones_bos",), signal=lambda n: 1e-4 if n < 16 else 1.0)
    lost = [row | {"finite": False, "distance": None} for row in collapse_rows()]
    yield "nothing-finite", collapse(lost)
    yield "exponential", collapse(lengths=lengths, signal=lambda n: 2.0**-n)
    yield "exceeded", collapse(exceeded=["R1", "R3"], without_bound=[])
    yield (
        "no-bound",
        collapse(layers_bound=None, without_bound=["R2", "R4", "R5"], entry_distance=0.5),
    )
    plans = ("f32", "bf16@weights", "e4m3fn@residual", "int8_channel", "e4m3fn@attn_weights")
    yield "plans", collapse(formats=plans, overflow=plans[2:3])
    yield "nothing-stored", collapse(formats=plans[1::3])
    yield "flat", collapse(lengths=lengths, signal=lambda n: 1.0, formats=("bf16",))


def _bounded():
    gaps = made_distances("full", 9, {1: 1.0, 4: 0.25, 8: 0.125})
    equal = made_distances("window", 2, {1: 1.0, 4: 0.0, 8: 0.0}, least=4)
    tokens = made_tokens("tova", (0.0, 0.25, 0.5, 0.25), (0, 0, 1, 3))
    yield "whole", bounded([*gaps, *equal, *tokens])
    lost = [row | {"finite": False, "distance": None} for row in gaps]
    unknown = [row | {"finite": False, "frobenius": None, "squared_share": None} for row in tokens]
    yield "not-finite", bounded([*lost, *unknown])
    yield "violated", bounded([row | {"equal": False} for row in equal])
    reached = [row | {"reaches": False, "spectral": 1e9} for row in tokens]
    yield "cannot-be", bounded([*[row | {"equal": False} for row in equal], *reached])
    yield "no-eviction", bounded(made_tokens("full", (0.25,) * 4, (3,) * 4))
    yield "no-effect", bounded(made_tokens("tova", (0.0, 0.0, 0.5, 0.5), (0, 0, 1, 3)))
    far = made_distances("window", 37, {16: 1.0, 131: 3e-5, 517: 0.0, 2048: 0.0}, least=733)
    weights = np.sqrt(np.arange(1.0, 121.0))
    many = [
        each | {"position": at, "token": at, "slots": 37, "prompt_tokens": 120}
        for at, weight in enumerate(weights / weights.sum())
        for each in made_tokens("tova", (float(weight),), (at % 4,))
    ]
    yield "long", bounded([*far, *many])


def _influence():
    norms = (8.0, 4.0, 2.0, 1.0, 1.0)
    sizes = (1.0, 2.0, 4.0, 8.0, 8.0)
    yield "estimated", influence("estimated", norms=norms, sizes=sizes)
    rounded = map(unbounded, made_rows(norms=norms, sizes=sizes))
    yield "rounded", influence_of([*rounded], rounding="simulated bf16 attn_exp")
    yield "exceeded", influence(norms=(1e5, *norms[1:]), sizes=sizes)
    equal, one = (1.0,) * 5, (1.0, 0.0, 0.0, 0.0, 0.0)
    yield (
        "passages",
        influence_of(made_passages({"norms": norms}, {"norms": equal}, {"norms": one})),
    )
    rows = made_rows(norms=norms)
    yield "not-finite", influence_of([*map(without_numbers, rows[:7]), *rows[7:]])
    lost = [without_numbers(row) | {"finite": False, "last_finite": False} for row in rows]
    yield "nothing-finite", influence_of(lost)
    none = {"norms": (0.0,) * 5}
    yield "none", influence(**none)
    yield "none-estimated", influence("estimated", **none)
    yield "none-first", influence_of(made_passages(none, {"norms": norms}))
    yield "one-token", influence(norms=(1.0,), tokens=("a",))


def _generate():
    prompts = [row | {"prompt": prompt} for prompt in (0, 1) for row in generate_rows()]
    yield "prompts", generate(prompts)
    yield "long", generate([row for policy in ("tova", "full") for row in _written(policy)])
    yield "alone", generate(generate_rows(policies=("tova",)))
    lost = [
        row | ({"logprob": None, "finite": False} if row["kind"] == "answer" else {})
        for row in generate_rows()
    ]
    yield "not-finite", generate(lost)
    cached = {"retained_layers": 4, "retained_share": 1.0}
    whole = [
        {k: v for k, v in row.items() if not k.endswith("evicted_at")}
        | (cached if "retained_share" in row else {})
        for row in generate_rows()
    ]
    yield "no-eviction", generate(whole)
    yield "full-alone", generate(generate_rows(policies=("full",)))


def _written(policy):
    """A prompt longer than a page shows, and what was written after it."""
    prompt, answer = ([r for r in generate_rows((policy,)) if r["kind"] == k] for k in _PARTS)
    for at in range(613):
        retained = (
            {} if policy == "full" else {"retained_layers": at % 3, "retained_share": at % 3 / 4}
        )
        yield prompt[0] | retained | {"position": at, "prompt_tokens": 613, "slots": 157}
    for step in range(131):
        row = answer[2 if step == 130 else 0]
        new = {"position": 613 + step, "step": step, "token": step, "logprob": -0.37 - step / 1000}
        size = {"bytes": 987654 if policy == "full" else 123456, "slots": 157}
        yield row | new | size | {"prompt_tokens": 613, "tokens_per_second": 47.3}


_PARTS = "prompt", "answer"


def _longform():
    texts = [
        longform_row("full", 200, 0, "<b>&", nll=0.0),
        longform_row("full", 200, 1, "word " * 100, nll=2.0, ended=False),
        longform_row("tova", 64, 0, "two", nll=1.0, agrees=2, repetition=0.5, length=128),
        longform_row("tova", 64, 1, "7 12 " * 70, nll=3.0, agrees=4, repetition=1.0),
    ]
    yield "texts", longform(texts)
    more = [
        longform_row(name, slots, at, f"{name} {at}", nll=1 + at * slots / 1000, length=256 + at)
        for name, slots in (("full", 275), ("tova", 37), ("window", 83))
        for at in range(9)
    ]
    yield "intervals", longform(more)
    yield "not-finite", longform([*texts[:2], longform_row("tova", 64, 0, "x", nll=None)])
    yield "one-differs", longform([*texts[:2], texts[2]])
    short = [longform_row("tova", 12, at, row["text"], nll=1.0) for at, row in enumerate(texts[:2])]
    yield "no-eviction", longform([*texts[:2], *short])
    same = [row | {"slots": 4} for row in short]
    yield "no-effect", longform([*texts[:2], *same])
    yield "full-alone", longform([*texts[:2], longform_row("full", 200, 2, "three", nll=1.0)])
    yield "no-full", longform(texts[2:])


def _perplexity():
    known = {
        "full": 10.0,
        "window": {31: 2000.0, 63: 200.0},
        "window+4": {31: 25.0, 63: 16.0},
        "tova": {31: 22.0, 63: 12.5},
        "short": {31: 40.0, 63: 20.0},
    }
    yield "sizes", perplexity(perplexity_rows(known, windows=4))
    yield "few", perplexity(perplexity_rows({**known, "full": 3.55}, windows=1), span="book")
    yield "one-size", perplexity(perplexity_rows({"tova": {31: 3e7}, "h2o-head": {31: 20.0}}))
    lost = perplexity_rows({"full": 10.0, "tova": {31: None}})
    yield "not-finite", perplexity(lost, ranking_obstacle="random_digits")
    yield "nothing-finite", perplexity(perplexity_rows({"full": None, "tova": {31: None}}))
    yield "no-eviction", perplexity(perplexity_rows({"full": 10.0, "tova": {128: 10.0}}))
    yield "full-alone", perplexity(perplexity_rows({"full": 10.0}))
    pair = {"tova": known["tova"], "window": known["window"]}
    yield "no-full", perplexity(perplexity_rows(pair, windows=4))
    yield "two-pairs", perplexity(perplexity_rows({"full": 10.0, **pair}, windows=4))
    cut = perplexity_rows(known, windows=4)[:-1]
    factors = {"f32": 1.0, "bf16@weights": 1.25, "e4m3fn": None, "native-bf16": 0.5}
    yield "formats", perplexity(list(in_formats(perplexity_rows(known, windows=4), factors)))
    few = perplexity_rows({"tova": {31: 20.0}}, windows=1)
    yield "few-formats", perplexity(list(in_formats(few, factors)))
    yield "cut-off", perplexity([{k: v for k, v in r.items() if k != "block_losses"} for r in cut])


def _recall():
    full = recall_rows("full", 300, 0.5, hits=[(0, 0.1), (1, 0.9)], items=9)
    tova = recall_rows("tova", 64, 1.0, hits=[(0, 0.1)], items=9)
    window = recall_rows("window", 64, 3.0, items=9, answer="<b>&")
    yield "order", recall([*full, *tova, *window, *recall_rows("tova", 64, 0.25, task="said")])
    said = recall_rows("tova", 64, 0.25, task="said", items=2, hits=[(0, 0.1), (0, 0.9), (1, 0.1)])
    yield "tasks", recall([*full, *recall_rows("tova", 64, 1.0, items=9), *said])
    yield "one-answer", recall(recall_rows("full", 300, 0.5)[:1])
    yield "no-full", recall(recall_rows("tova", 64, 0.5))
    yield (
        "nothing-finite",
        recall([row | {"finite": False} for row in recall_rows("full", 300, None)]),
    )
    lost = [row | {"finite": False} for row in recall_rows("tova", 64, None)]
    yield "not-finite", recall([*full, *lost])
    whole = [row | {"retained_share": 1.0} for row in recall_rows("tova", 280, 0.5)]
    sizes = [*recall_rows("tova", 64, 1.0), *recall_rows("window", 64, 2.0)]
    yield "whole", recall([*full, *whole])
    yield "sizes", recall([*full, *whole, *sizes])


def _retention():
    result = lambda rows, **constants: retention_result(retention_run(rows, **constants))
    length, slots = 600, 64
    steps = np.arange(length)
    window = np.where(steps + slots < length, steps + slots, length)
    sinks = np.where(steps % 6 == 3, length, window)
    evicted = tuple(each[None].astype(np.int32) for each in (window, sinks))
    cells = (("window", slots), ("tova", slots))
    yield "long", result(retention_rows(cells, evicted, text_perplexity=3.55))
    yield "unranked", result(retention_rows(cells, evicted), ranking_obstacle="random_digits")
    yield "not-finite", result(retention_rows(finite=False))
    yield "fits", result(retention_rows((("tova", 6),), (np.full((1, 6), 6, np.int32),)))
    yield "one-layer", result(retention_rows((("tova", 3),), (TOVA,)))


def _verify():
    run = glassesjax.read(Path(__file__).parents[1] / "data" / "schema_1" / "verify").run
    first, *rest = run.rows
    changed = lambda **new: [dataclasses.replace(first, **new), *rest]
    of = lambda rows: verify_result(dataclasses.replace(run, rows=rows, numbers=[0] * len(rows)))
    yield "one-claim", of([row for row in run.rows if row.claim == first.claim])
    yield "violated", of(changed(verdict="violated", measured=1.37, tightness=1.37, bound=1.0))
    own = lambda rows: of([row for row in rows if row.claim == first.claim])
    yield "one-violated", own(changed(verdict="violated", measured=1.37, tightness=1.37, bound=1.0))
    lost = {"verdict": "violated", "measured": math.nan, "tightness": math.nan}
    yield "one-not-finite", own(changed(**lost))
    outside = {"verdict": "not_applicable", "hypotheses": "unmet", "counter_case": None}
    kept = [row for row in run.rows if row.claim == first.claim and hasattr(row, "verdict")]
    yield (
        "outside",
        of([dataclasses.replace(r, **outside) if hasattr(r, "part") else r for r in kept]),
    )
    yield "not-finite", of(changed(verdict="violated", measured=math.nan, tightness=math.nan))
    yield "cut-off", of(run.rows[:-1])


def _train():
    steps = [train.step(0, at, 3.0 / at) for at in (10, 20)]
    answers = train.answers_in(["bf16", "e4m3fn", "e8m3@weights"])
    result = lambda rows: train_result(train.run_of([*steps, *rows]))
    yield "pairs", result([*answers, *train.FOUR_FORMATS])
    yield "seeds", result([*train.answers_in(["f32"], seeds=(0, 1)), train.refused()])
    wrong = train.refused(WrongPairs(wrong_pairs=3, training_pairs=29))
    yield "not-learned", result([*train.answers_in(["f32"], learned=False), wrong])
    yield "influence", result([*answers, *train.influences(16, 0.5), *train.influences(8, None)])
    yield "ratio", result([*answers, *train.counted(0.75, None), *train.counted(0.648, 4e-6)[1:]])
    bits = [row for m, n in ((2, 4), (3, 8), (4, 16)) for row in train.pairs_of(f"e8m{m}", n, n)]
    yield "bits", result([*answers, *bits])
    lost = [
        train.answer(0, "f32", n, 0.0, math.nan, loss=math.nan, finite=False) for n in (None, 2)
    ]
    yield "not-finite", result(lost)
    yield "unfinished", result([])
    yield "at-all", result([train.answer(0, "f32", n, 1.0) for n in (None, 2, 4)])


def _sweep():
    rows = [*train.answers_in(["bf16", "e4m3fn"]), *train.FOUR_FORMATS]
    yield "cells", sweep_result(train.swept(("one", rows), ("two,3", rows)))
    yield "many", sweep_result(train.swept(*((f"cell {n}", rows) for n in range(6))))
    lost = [
        train.answer(0, "f32", n, 0.0, math.nan, loss=math.nan, finite=False) for n in (None, 2)
    ]
    yield "not-finite", sweep_result(train.swept(("one", lost), ("two,3", lost)))
    yield "unfinished", sweep_result(train.swept(("one", []), ("two,3", [])))


MADE = {
    "collapse": _collapse,
    "bounded": _bounded,
    "influence": _influence,
    "generate": _generate,
    "longform": _longform,
    "perplexity": _perplexity,
    "recall": _recall,
    "retention": _retention,
    "verify": _verify,
    "train": _train,
    "sweep": _sweep,
}
"""By verb, what gives names and results; a verb without any has its stored run."""
