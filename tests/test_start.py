"""The command starts quickly: help, and the refusal of a setting, need no JAX."""

import importlib
import json
import subprocess
import sys

from glassesjax.registry import VERBS

HEAVY = ("jax", "jaxlib", "flax", "optax", "orbax", "matplotlib", "numpy", "jaxtyping")
HEAVY += ("pandas", "scipy")

# One mistake for each verb in a setting that it checks by itself, and what the line must say: the
# setting, and the value where it has one.
MISTAKES = {
    "collapse": (["toy", "--formats", "f7"], ("format", "'f7'")),
    "influence": (["toy", "--positions", "sideways"], ("--positions", "got sideways")),
    "generate": (["toy", "--prompt", "1", "--policy", "tofa"], ("a policy", "'tofa'", "'tova'?")),
    "perplexity": (["toy", "--slots", "many"], ("slots", "'many'")),
    "retention": (["toy", "--policies", "full"], ("policies", "full")),
    "recall": (["toy"], ("a model that reads text", "toy")),
    "longform": (["toy", "--top-k", "0"], ("top_k at least 1", "got 0")),
    "bounded": (["toy", "--families", "twos"], ("families", "'twos'")),
    "train": (["copy_last", "--remedy", "separators-200000"], ("--remedy", "separators-200000")),
    "sweep": (["--grid", "remedy=twice,thrice"], ("remedy", "'thrice'")),
    "verify": (["--only", "lem_b0"], ("claims", "'lem_b0'")),
    "runs": (["nowhere"], ("a folder with runs", "'nowhere'")),
    "compare": (["nowhere", "nowhere"], ("settings.json", "nowhere")),
    "export": (["nowhere", "--to", "docx"], ("--to", "docx")),
    "models": (["--all"], ("--all",)),
    "backend": (["--all"], ("--all",)),
}

ADDRESS = ["collapse", "toy", "--compilation-cache", "gs://programs"]

# Absence after all of them is absence after each: one process will do.
PROBE = """
import contextlib, io, json, sys
from glassesjax.cli import run

def ended(words):
    text = io.StringIO()
    with contextlib.redirect_stdout(text), contextlib.redirect_stderr(text):
        try:
            status = run(words)
        except SystemExit as stop:
            status = stop.code
    names = [name for name in HEAVY if name in sys.modules]
    return {"words": words, "status": status, "text": text.getvalue(), "heavy": names}

commands = json.loads(sys.stdin.read())
print(json.dumps([ended(words) for words in commands]))
"""


def ends(commands, heavy=HEAVY):
    """Each command's exit status, what it printed, and what it had imported by then."""
    code = f"HEAVY = {heavy!r}\n{PROBE}"
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=json.dumps(commands),
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def test_help_and_refusals_import_nothing_heavy():
    assert MISTAKES.keys() == VERBS.keys()
    helps = [["--help"], *([verb, "--help"] for verb in VERBS)]
    texts = [
        ("'colapse'",),
        ("a verb", "got none"),
        ("an address of gs:",),
        *(text for _, text in MISTAKES.values()),
    ]
    mistakes = [
        ["colapse"],
        [],
        ADDRESS,
        *([verb, *words] for verb, (words, _) in MISTAKES.items()),
    ]
    endings = ends([*helps, *mistakes])
    assert [end["heavy"] for end in endings] == [[]] * len(endings)
    assert [end["status"] for end in endings] == [0] * len(helps) + [2] * len(mistakes)
    for end, text in zip(endings[len(helps) :], texts, strict=True):
        (line,) = end["text"].splitlines()
        assert line.startswith("glassesjax: "), end
        assert [part for part in text if part not in line] == [], end


def test_the_probe_sees_what_is_imported():
    (end,) = ends([["backend", "--help"]], heavy=("tyro", "jax"))
    assert end["heavy"] == ["tyro"]


def test_settings_are_made_without_jax():
    modules = [path.partition(":")[0] for path in VERBS.values()]
    code = "\n".join(
        [
            "import sys, glassesjax",
            "from glassesjax import BadInput",
            *(f"import {module}" for module in modules),
            "from glassesjax.precision import float_format, named_plan, number_format",
            "from glassesjax.tasks import named_format, named_task, run_family",
            "from glassesjax.cache import policy",
            "from glassesjax.model import DecoderConfig, TOY_POSITIONS",
            "from glassesjax.train import TrainConfig",
            f"print([name for name in {HEAVY!r} if name in sys.modules])",
        ]
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_name_that_is_a_module_as_well_stays_the_function():
    # ``prefill`` is a function of the module ``prefill``: importing one must not hide the other.
    for package, name in (("cache", "prefill"), ("cache", "replay"), ("trace", "rollout")):
        importlib.import_module(f"glassesjax.{package}.{name}")
        assert callable(getattr(importlib.import_module(f"glassesjax.{package}"), name))
