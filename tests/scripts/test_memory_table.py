"""The table of memory in docs/models.md: its numbers from shapes, and what XLA plans on a CPU."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from made_large import PASSES

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
from memory_formulas import CONFIGS, FEW, LIMIT, ROWS, Sizes, extended, row_text, total, weights
from memory_table import BEGIN, END, KEPT, PAGE, planned

ROOT = Path(__file__).parents[2]
SIZES = ("7B", "70B")
# Formulas leave out rows of a few kB, what a product or a sum takes beside its result, and that
# XLA may use the room of one array for another.
WITHIN = 0.15
# A fixed choice of XLA's, so that only another version of it differs: this much is no surprise.
AGAIN = 0.05
FIT = ("collapse", "influence, estimated", "perplexity, losses", "decode, full", "decode, tova")


@pytest.fixture(scope="module")
def kept():
    return json.loads((ROOT / KEPT).read_text())


def rows():
    """The cells of the page by size and pass."""
    text = (ROOT / PAGE).read_text().partition(BEGIN)[2].partition(END)[0]
    parts = dict(zip(SIZES, text.split("LLaMA 2 ")[1:], strict=True))
    return {
        size: {
            cells[0]: cells
            for line in part.splitlines()
            if line.startswith("|")
            and (cells := [cell.strip() for cell in line.strip("|").split("|")])[0] in ROWS
        }
        for size, part in parts.items()
    }


@pytest.mark.parametrize("size", SIZES)
def test_the_page_has_the_numbers_that_follow_from_shapes(size, kept):
    found = rows()[size]
    assert found == {name: row_text(name, size, kept[size][name]) for name in ROWS}
    assert set(ROWS) <= set(PASSES)


@pytest.mark.parametrize("size", SIZES)
def test_formulas_are_near_what_xla_plans(size, kept):
    """At every number of layers that was compiled."""
    off = {}
    for name, row in ROWS.items():
        for layers, found in kept[size][name].items():
            at = Sizes.of(size)
            at = at if row.one_layer else at._replace(layers=int(layers))
            share = row.temporaries(at) / found - 1
            off[name, layers] = min(share, 0) if row.results_first else share
    assert {key: value for key, value in off.items() if abs(value) > WITHIN} == {}


@pytest.mark.parametrize("size", SIZES)
def test_the_line_through_few_layers_meets_the_plan_of_all(size, kept):
    for name, row in ROWS.items():
        layers, found = CONFIGS[size].num_layers, kept[size][name]
        if not row.one_layer and not row.results_first:
            assert extended(found, layers) == pytest.approx(found[str(layers)], rel=AGAIN), name


@pytest.mark.parametrize("size", SIZES)
def test_what_is_to_fit_fits(size, kept):
    assert all(total(name, size, kept[size][name]) <= LIMIT for name in FIT)
    assert weights(size) == {"7B": 13_476_831_232, "70B": 11_141_136_384}[size]


@pytest.mark.slow
@pytest.mark.parametrize("name", FIT)
def test_xla_plans_what_is_kept(name, kept):
    for layers in ROWS[name].layers("7B")[:2]:
        assert planned(name, "7B", layers) == pytest.approx(
            kept["7B"][name][str(layers)], rel=AGAIN
        )


@pytest.mark.slow
def test_xla_plans_what_is_kept_of_16_devices(kept):
    """In a process of its own: JAX reads the number of devices once."""
    scripts, layers = ROOT / "scripts", FEW[0]
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=16"
    paths = os.pathsep.join(map(str, (scripts, ROOT / "tests", ROOT)))
    code = f"from memory_table import planned; print(planned('collapse', '70B', {layers}))"
    ended = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "XLA_FLAGS": flags, "PYTHONPATH": paths, "JAX_PLATFORMS": "cpu"},
        capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    found = kept["70B"]["collapse"][str(layers)]
    assert int(ended.stdout.split()[-1]) == pytest.approx(found, rel=AGAIN)


@pytest.mark.slow
def test_a_pass_that_widens_all_layers_breaks_the_check(monkeypatch, kept):
    """The counter-case: a plain scan over layers."""
    import jax

    plain = lambda step, carry, layers, start=0: jax.lax.scan(step, carry, layers)
    jax.clear_caches()
    monkeypatch.setattr("glassesjax.model.decoder.scan_layers", plain)
    for layers in FEW:
        assert planned("collapse", "7B", layers) > 3 * kept["7B"]["collapse"][str(layers)]
    jax.clear_caches()
