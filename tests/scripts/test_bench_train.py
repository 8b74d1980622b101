"""The benchmark's own small parts: names of weights, work counted by hand, what it complains of."""

import dataclasses
import sys
from pathlib import Path

import numpy as np
import pytest

from glassesjax.tasks import PromptFormat
from glassesjax.tasks.prompt_format import width
from glassesjax.train import init_state

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
import bench_train as bench

TINY = bench.SHAPES["tiny"]


@pytest.mark.parametrize("name", list(bench.SHAPES))
def test_rows_have_the_tokens_of_the_shape(name):
    shape = bench.SHAPES[name]
    assert width(bench.TASK, PromptFormat(), bench.longest(shape.seq)) == shape.seq
    assert shape.training.mix.high == bench.longest(shape.seq)


@pytest.mark.parametrize(("seq", "length"), [(13, 9), (15, 10), (64, 59)])
def test_longest_by_hand(seq, length):
    """Mark, ones, equals, digits, end: 3 tokens beside the ones and the digits of their number."""
    assert bench.longest(seq) == length


def test_no_length_has_a_row_of_fourteen():
    with pytest.raises(SystemExit, match="got 14"):
        bench.longest(14)


def test_work_by_hand():
    """One layer of width 2, one row of 3 tokens: each product counted, forward, then three times.

    Query, key, value, output: 4 of 2 x 2; MLP: 2 of 2 x 8; scores and averages: 3 x 2 each.
    """
    shape = bench.Shape(width=2, layers=1, seq=3, batch=1, heads=1)
    vocabulary = len(bench.TASK.symbols)
    each = 4 * 2 * 2 + 2 * 2 * 8 + 3 * 2 + 3 * 2 + vocabulary * 2
    assert shape.flops == 3 * 2 * 3 * each
    assert dataclasses.replace(shape, batch=5).flops == 5 * shape.flops


def test_weights_under_their_names():
    decoder = init_state(TINY.config, TINY.training, 0, bench.RATE).decoder
    arrays, attention = bench.their_arrays(decoder), decoder.blocks.attention
    assert arrays["blocks.1.qkv.weight"].shape == (3 * TINY.width, TINY.width)
    for part, own in enumerate((attention.query, attention.key, attention.value)):
        rows = slice(part * TINY.width, (part + 1) * TINY.width)
        for layer in range(TINY.layers):
            found = arrays[f"blocks.{layer}.qkv.weight"][rows]
            np.testing.assert_array_equal(found, own[...][layer])
    # Every weight once: the tied table serves at both ends.
    count = sum(array.size for array in arrays.values())
    matrices = 12 * TINY.layers * TINY.width**2 + len(bench.TASK.symbols) * TINY.width
    assert count == matrices + (2 * TINY.layers + 1) * TINY.width


@pytest.mark.parametrize(("gap", "complains"), [(0.0, False), (1.0, True), (float("nan"), True)])
def test_other_losses_are_complained_about(gap, complains):
    line = bench.wrong([{"check": "3 steps", "width": 8, "gap": gap, "bound": bench.SAME}])
    assert bool(line) == complains
    assert line.startswith("3 steps, width 8" if complains else "")


def test_sides_take_turns_and_the_best_counts():
    order, times = [], {"a": [3.0, 1.0, 2.0], "b": [5.0, 6.0, 4.0]}

    def side(name):
        left = iter(times[name])

        def run():
            order.append(name)
            return next(left)

        return run

    seconds = bench.take_turns({name: side(name) for name in times}, 3)
    assert order == ["a", "b"] * 3
    row = bench.row_of("a", TINY, seconds["a"], models=8)
    assert row["steps_per_second"] == TINY.steps / 1.0
    assert row["median_steps_per_second"] == TINY.steps / 2.0
    assert row["model_steps_per_second"] == 8 * TINY.steps
    assert row["tokens_per_second"] == 8 * TINY.steps * TINY.batch * TINY.seq


def test_share_of_peak(monkeypatch):
    row = {"gflops_per_second": 4947.0}
    assert bench.share_of_peak(row, "NVIDIA H200") == {}  # of a CPU nothing is said
    monkeypatch.setattr(bench.jax, "default_backend", lambda: "gpu")
    assert bench.share_of_peak(row, "NVIDIA H200")["share_of_peak"] == pytest.approx(0.01)
    assert bench.share_of_peak(row, "a new one")["share_of_peak"] == "unknown"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"shapes": ("width 65",)}, "got 'width 65'"),
        ({"seeds_shape": "large"}, "got 'large'"),
        ({"rounds": 0}, "--rounds of 1 or more, got 0"),
        ({"threads": -1}, "--threads of 0 or more"),
        ({"seeds": (8, 0)}, "--seeds of 1 or more"),
        ({"torch_python": Path("no/such/python")}, "no/such/python cannot be run"),
    ],
    ids=str,
)
def test_what_cannot_be_timed_is_one_line(changes, said, tmp_path, capsys):
    out = tmp_path / "new" / "rows.json"
    with pytest.raises(SystemExit) as caught:
        bench.main(bench.Settings(out=out, **changes))
    assert caught.value.code == 2
    [line] = capsys.readouterr().err.splitlines()
    assert said in line
    assert not out.parent.exists(), "nothing is begun"


def test_torch_has_a_cpu_or_a_gpu(monkeypatch):
    settings = bench.Settings(torch_python=Path(sys.executable))
    assert bench.refusal(settings) == bench.refusal(bench.Settings()) == ""
    monkeypatch.setattr(bench.jax, "default_backend", lambda: "tpu")
    assert "on tpu" in bench.refusal(settings)
    assert bench.refusal(bench.Settings()) == ""
