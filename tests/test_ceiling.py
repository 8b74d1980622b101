"""The ceiling of a quick test's cost: what is over it fails, unless it is marked slow."""

import ceiling

TESTS = """
import time
import ceiling
import pytest

def burn():
    end = time.process_time() + 0.1
    while time.process_time() < end: pass

@pytest.fixture
def dear():
    burn()

def test_at_the_ceiling():
    ceiling.compilations.extend([0.0] * ceiling.COMPILATIONS)

def test_one_compilation_more():
    ceiling.compilations.extend([0.0] * (ceiling.COMPILATIONS + 1))

def test_seconds():
    burn()

def test_fixture(dear):
    pass

@pytest.mark.slow
def test_slow(dear):
    burn()
    ceiling.compilations.extend([0.0] * 999)
"""


def test_a_quick_test_over_the_ceiling_fails(pytester, monkeypatch):
    monkeypatch.setattr(ceiling, "CPU_SECONDS", 0.03)
    pytester.makeini("[pytest]\nmarkers = slow")
    pytester.makepyfile(TESTS)
    result = pytester.runpytest_inprocess("-p", "ceiling", "-p", "no:cacheprovider", "-rfE")
    result.assert_outcomes(passed=2, failed=2, errors=1)
    result.stdout.re_match_lines(
        [
            r"FAILED .*test_one_compilation_more - .* 41 compilations \(of 40\).*",
            r"FAILED .*test_seconds - .*0\.1 CPU s \(of 0\.03\).*",
            r"ERROR .*test_fixture - .*\(of 0\.09\).*",
        ],
        consecutive=False,
    )
