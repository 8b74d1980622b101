import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"
sys.path.append(str(SCRIPTS))
from abuse_values import damage_bytes, damage_json, plain_kind  # noqa: E402

# Each kind of ending, made on purpose; a fork beside JAX's threads would hang, so not in here.
ENDINGS = """
import os, sys, time
from pathlib import Path
import abuse
from abuse_cases import Case

def refuse(then=lambda: None):
    then()
    raise ValueError("Expected a number, got none: give one.")

def burn():
    while time.process_time() < 2.5: pass

def fill():
    held = bytearray(b"x" * 2 * 10**8)
    time.sleep(0.2)

def work():
    Path("settings.json").touch()
    time.sleep(60)

def leave():
    Path("half").touch()
    sys.stderr.write("glassesjax: Expected more.\\n")
    sys.exit(2)

endings = [refuse, lambda: {}["x"], lambda: time.sleep(60), lambda: refuse(burn),
    lambda: refuse(fill), os.abort, lambda: None, work, leave,
    lambda: (sys.stderr.write("one\\ntwo"), sys.exit(2)), lambda: sys.exit(3),
    lambda: refuse(lambda: print("one\\ntwo"))]
abuse.KINDS = {"command": lambda rng, folder, finished: Case("made", made.pop(0))}
abuse.CPU_SECONDS = 2.0
made = list(endings)
settings = abuse.Settings(workers=1, seconds=8, grace=1)
import tempfile
with tempfile.TemporaryDirectory() as room:
    wanted = [("command", number) for number in range(len(endings))]
    for row in abuse.tries(settings, wanted, Path(room)):
        print(row["outcome"])
"""


@pytest.fixture(scope="module")
def done():
    command = [sys.executable, "-c", ENDINGS]
    return subprocess.run(command, cwd=SCRIPTS, capture_output=True, text=True, check=True)


@pytest.mark.slow  # beside the script itself, which `make slow` runs
def test_every_kind_of_ending_is_known_for_what_it_is(done):
    assert done.stdout.splitlines() == [
        "refused",
        "wrong: traceback",
        "wrong: hangs",
        "wrong: slow to refuse",
        "wrong: refusal takes memory",
        "wrong: ends with -6",
        "opened",
        "working",
        "wrong: refused and left files",
        "wrong: refused in 2 lines",
        "wrong: ends with 3",
        "refused",
    ]


def test_damage_is_a_function_of_its_draw_and_is_damage():
    content, value = bytes(range(256)), {"a": [1, {"b": "x"}], "c": None}
    for seed in range(50):
        bytes_, json_ = (
            [damage(Random(seed)) for _ in range(2)]
            for damage in (
                lambda rng: damage_bytes(rng, content, within=200),
                lambda rng: damage_json(rng, value),
            )
        )
        assert bytes_[0] == bytes_[1]
        assert repr(json_[0]) == repr(json_[1])
    assert len({damage_bytes(Random(seed), content, within=200) for seed in range(50)}) > 40
    assert value == {"a": [1, {"b": "x"}], "c": None}


@pytest.mark.parametrize(
    ("hint", "kind"),
    [
        (int, (int, False)),
        (Path | None, (Path, False)),
        (tuple[float, ...], (float, True)),
        (str, (str, False)),
    ],
)
def test_the_kind_of_a_setting_is_read_off_its_annotation(hint, kind):
    assert plain_kind(hint) == kind
