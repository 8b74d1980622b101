"""A quick test has a ceiling of cost: one over it fails, and says by how much.

Seconds differ by machine: ``CPU_CEILING`` allows others, 0 any number. What
earlier files of the same process have compiled is not compiled again, and which files those are
differs by schedule: ``COMPILATION_CEILING`` gives some room where that must fail nobody.
"""

import os

import pytest
from jax import monitoring

COMPILATIONS = int(os.environ.get("COMPILATION_CEILING", "40"))
CPU_SECONDS = float(os.environ.get("CPU_CEILING", "4")) or float("inf")
FIXTURE = 6  # times as much may go into what is set up for a whole module
COMPILED = "/jax/core/compile/backend_compile_duration"
compilations: list[float] = []  # seconds of each
monitoring.register_event_duration_secs_listener(
    lambda event, seconds, **_: compilations.append(seconds) if event == COMPILED else None
)


def cpu_seconds() -> float:
    """Of this process and of those that it started and waited for."""
    return sum(os.times()[:4])


shared: list[str] = []  # fixtures of a module or more that the set-up at hand has made


def limited(item):
    """Fails a quick test that costs more than the ceiling."""
    seconds, count = cpu_seconds(), len(compilations)
    shared.clear()
    result = yield
    seconds, count = cpu_seconds() - seconds, len(compilations) - count
    times = FIXTURE if shared else 1
    quick = not any(item.get_closest_marker(name) for name in ("slow", "claims"))
    if quick and (seconds > CPU_SECONDS * times or count > COMPILATIONS * times):
        pytest.fail(
            f"a quick test: {seconds:.1f} CPU s (of {CPU_SECONDS * times:g}) and {count} "
            f"compilations (of {COMPILATIONS * times}); share programs, or mark it slow",
            pytrace=False,
        )
    return result


def pytest_fixture_setup(fixturedef):
    """Notes what is made for several tests, and counted for the first of them."""
    if fixturedef.scope != "function":
        shared.append(fixturedef.argname)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item):
    """The fixtures of a test."""
    return (yield from limited(item))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    """The test itself."""
    return (yield from limited(item))
