"""The ceiling of a quick test's cost: what is over it fails, unless it is marked slow."""

import re
import time
import types

import ceiling
import pytest


def burn():
    end = ceiling.cpu_seconds() + 0.08
    while ceiling.cpu_seconds() < end:
        time.process_time()


def compiled(count):
    return lambda: ceiling.compilations.extend([0.0] * count)


def for_a_module(*costs):
    """What the set-up of a fixture for a whole module costs."""
    fixture = types.SimpleNamespace(scope="module", argname="rows")
    return lambda: [ceiling.pytest_fixture_setup(fixture), *(cost() for cost in costs)]


def ran(hook, cost, marks=()):
    """A test of that cost as pytest runs it."""
    item = types.SimpleNamespace(get_closest_marker=dict.fromkeys(marks, True).get)
    running = hook(item)
    next(running)
    cost()
    with pytest.raises(StopIteration):
        running.send(None)


CALL, SETUP = ceiling.pytest_runtest_call, ceiling.pytest_runtest_setup
OVER = [
    (CALL, compiled(41), r"41 compilations \(of 40\)"),
    (SETUP, compiled(41), r"41 compilations \(of 40\)"),
    (SETUP, for_a_module(compiled(241)), r"241 compilations \(of 240\)"),
    (CALL, burn, r"0\.\d CPU s \(of 0\.02\)"),
    (SETUP, for_a_module(burn, burn), r"0\.\d CPU s \(of 0\.12\)"),
]


def over(hook, cost, text, marks=()):
    """Whether such a test fails, and says so."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ceiling, "compilations", [])
        patch.setattr(ceiling, "CPU_SECONDS", 0.02)
        patch.setattr(ceiling, "COMPILATIONS", 40)
        try:
            ran(hook, cost, marks)
        except pytest.fail.Exception as failure:
            return re.search(text, str(failure)) is not None
    return False


@pytest.mark.parametrize(("hook", "cost", "text"), OVER)
def test_a_quick_test_over_the_ceiling_fails(hook, cost, text):
    assert over(hook, cost, text)
    assert not over(hook, cost, text, marks=["slow"])
    assert not over(hook, cost, text, marks=["claims"])


@pytest.mark.parametrize(
    ("hook", "cost"),
    [(CALL, compiled(40)), (SETUP, compiled(40)), (SETUP, for_a_module(compiled(240)))],
)
def test_a_test_at_the_ceiling_passes(hook, cost):
    assert not over(hook, cost, "")


def test_the_ceiling_is_on(request):
    assert request.config.pluginmanager.has_plugin("ceiling")
