"""Accuracy by place beside what is heard of it: against loops, and where there is no order."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from glassesjax.errors import BadInput
from glassesjax.model import Decoder, DecoderConfig
from glassesjax.statistics.ranks import spearman
from glassesjax.studies.train import influence_rows as module
from glassesjax.studies.train.influence_rows import influence_rows
from glassesjax.studies.train.settings import TrainSettings
from glassesjax.tasks import named_format, named_task
from glassesjax.trace import exact_influence, printed_bound, rollout

HEAD = {"step": 1, "format": "f32"}
LENGTH, FEW = 4, 2  # eight derivatives: one batch, and no rest of one


@pytest.fixture(scope="module")
def decoder():
    config = DecoderConfig(vocab_size=len(named_task("copy_at").symbols), model_dim=4)
    return Decoder(config, key=jax.random.key(0))


@pytest.fixture(autouse=True)
def few_examples(monkeypatch):
    monkeypatch.setattr(module, "ANSWERED", 8)


def drawn(name, count, remedy="none"):
    """The rows of the study, drawn again."""
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(1), LENGTH), 4)
    keys, prompt_format = jax.random.split(key, count), named_format(remedy)
    return module._rows(keys, task=named_task(name), prompt_format=prompt_format, length=LENGTH)


@pytest.fixture(scope="module")
def copied(decoder):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "ANSWERED", 8)
        return list(
            influence_rows(
                decoder, named_task("copy_at"), named_format("none"), LENGTH, 1, FEW, HEAD
            )
        )


@pytest.fixture(scope="module")
def copied_twice(decoder):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "ANSWERED", 8)
        return list(
            influence_rows(
                decoder, named_task("copy_string"), named_format("twice"), LENGTH, 1, FEW, HEAD
            )
        )


@pytest.fixture(scope="module")
def looped(decoder):
    """By place, whether each answer is right, and the sizes of the first few."""
    rows = drawn("copy_at", 8 * LENGTH)
    said = jax.jit(jax.vmap(lambda tokens: decoder.logits(decoder(tokens)[0])))(rows.tokens)
    rows, said = jax.tree.map(np.asarray, (rows, said))
    paths, bound = jax.jit(rollout), jax.jit(printed_bound)
    found = {}
    for number in range(len(rows.tokens)):
        [at] = np.flatnonzero(rows.final[number])
        token, place = int(rows.tokens[number, at]), int(rows.source[number, at])
        others = np.delete(said[number, at - 1], token)
        mine = found.setdefault(place, ([], []))
        mine[0].append(bool(said[number, at - 1, token] > others.max()))
        if len(mine[1]) < FEW:
            [where] = np.flatnonzero(rows.item[number] == place)
            prefix = rows.tokens[number, :at]
            whole, sizes = bound(decoder, prefix), exact_influence(decoder, prefix, layers=(0,))
            printed = np.asarray(whole.profile)[0, where] * np.exp(np.float32(whole.log_gain))
            share = np.asarray(paths(decoder, prefix).profile)[0, where]
            mine[1].append((np.asarray(sizes.frobenius)[0, where], share, printed))
    return found


def test_rows_are_those_of_loops(copied, looped):
    (*places, order), found = copied, looped
    assert [row.position for row in places] == sorted(found)
    for row in places:
        right, measured = found[row.position]
        assert row.examples == len(right)
        assert row.accuracy == pytest.approx(np.mean(right))
        assert row.differentiated == len(measured) == FEW
        expected = np.mean(measured, axis=0)
        # Float32, some hundred roundings.
        assert row.influence == pytest.approx(expected[0], rel=1e-4, abs=0)
        assert row.rollout == pytest.approx(expected[1], rel=1e-4, abs=0)
        assert row.bound == pytest.approx(expected[2], rel=1e-4, abs=0)
    assert order.num_positions == LENGTH
    shares = np.array([row.accuracy for row in places])
    early = spearman(shares, -np.arange(float(LENGTH)))
    coefficient = order.earliness and order.earliness.spearman
    assert coefficient == (None if np.isnan(early) else pytest.approx(float(early)))
    assert order.accuracy == pytest.approx(np.mean(np.concatenate([r for r, _ in found.values()])))


def test_every_token_of_a_copied_string_asks_its_place(copied_twice):
    *places, order = copied_twice
    assert [row.position for row in places] == list(range(LENGTH))
    assert all(row.examples == 8 for row in places)
    assert all(0 < row.rollout < 1 for row in places)
    assert order.examples == 8 * LENGTH


def test_all_wrong_is_no_order(decoder):
    flat = jax.tree.map(jnp.zeros_like, decoder)  # ties, which are no answers
    *_, order = influence_rows(
        flat, named_task("copy_at"), named_format("none"), LENGTH, 1, FEW, HEAD
    )
    assert order.accuracy == 0
    assert order.influence is order.dispersion is None


@pytest.mark.parametrize(
    "changes", [{"task": "count_ones"}, {"mask": "none"}, {"influence_examples": -1}], ids=str
)
def test_what_cannot_be_heard_is_refused(changes):
    with pytest.raises(BadInput, match="Expected --influence-examples"):
        TrainSettings(**{"task": "copy_at", "influence_examples": 2} | changes)
