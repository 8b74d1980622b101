"""Cases of abuse: damaged files, damaged run folders, and command lines drawn at random."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import NamedTuple

import abuse_folders
import abuse_gguf
import numpy as np
from abuse_calls import draw_call
from abuse_models import stored
from abuse_oracle import compare
from abuse_values import (
    damage_bytes,
    damage_json,
    flags,
    hostile_template,
    json_value,
    special_files,
    word,
)

import glassesjax
from glassesjax import open_model
from glassesjax.cli import main
from glassesjax.registry import load

os.environ["TOKENIZERS_PARALLELISM"] = "false"  # it would warn in each child of this process
sys.path.append(str(Path(__file__).parents[1] / "tests"))
from model.made_folders import LLAMA, folder, llama_tensors
from model.made_tokenizers import KINDS as TOKENIZERS
from model.made_tokenizers import folder_of, made

MODELS = "models.pickle"
TRAINED = Path(glassesjax.__file__).parent / "model" / "trained" / "count_ones.safetensors"


class Case(NamedTuple):
    """One try."""

    text: str
    """What is tried, to be read."""
    action: Callable[[], object]
    """Tries it in a process of its own."""


# Each verb with settings under which it is done in seconds.
SMALL = {
    "collapse": "toy --lengths 2 4 --formats bf16 --families ones",
    "influence": "toy --prompt 1,2 --probes 2",
    "generate": "toy --prompt 12 --max-tokens 2",
    "perplexity": "toy --max-tokens 24 --slots 8 --policies full tova",
    "retention": "toy --max-tokens 24 --slots 8 --policies tova",
    "recall": "smollm2 --lengths 512 --items 1",
    "longform": "toy --prompt 12 --max-tokens 8 --slots 8 --samples 1",
    "bounded": "toy --lengths 8 --max-tokens 8 --slots 6 --probes 2",
    "train": "count_ones --steps 2 --batch 2 --width 8 --heads 1 --layers 1 --examples 2",
    "sweep": "",
    "verify": "--only fu_sharpness",
}
# Those whose finished runs are damaged.
FOLDERS = ("collapse", "influence", "retention", "train")


def _damaged_gguf(rng: Random, room: Path, finished: Path) -> Case:
    path, original = room / "model.gguf", room / "original.gguf"
    damage = abuse_gguf.damaged(rng, stored(finished / MODELS), path, original)
    return Case(damage.text, lambda: compare(path, original, damage))


def _damaged_folder(rng: Random, room: Path, finished: Path) -> Case:
    path, original = room / "model", room / "original"
    damage = abuse_folders.damaged(rng, stored(finished / MODELS), path, original)
    return Case(damage.text, lambda: compare(path, original, damage))


def _damaged_safetensors(rng: Random, folder: Path, _: Path) -> Case:
    path = folder / "model-0.safetensors"
    content = TRAINED.read_bytes()
    size = int.from_bytes(content[:8], "little")
    if rng.random() < 0.4:
        path.write_bytes(damage_bytes(rng, content, within=8 + size))
        return Case("damaged bytes", lambda: open_model(str(path)))
    header = json.loads(content[8 : 8 + size])
    within = header["__metadata__"]
    name = rng.choice(sorted(within))
    if rng.random() < 0.2:
        header, name = damage_json(rng, header), "the header"
    else:
        value = json.loads(within[name]) if within[name][:1] in "[{" else within[name]
        damaged = damage_json(rng, value)
        within[name] = damaged if isinstance(damaged, str) else json.dumps(damaged)
    made = json.dumps(header).encode()
    path.write_bytes(len(made).to_bytes(8, "little") + made + content[8 + size :])
    return Case(f"damage within {name}", lambda: open_model(str(path)))


TURNS = "{{ bos_token }}{% for m in messages %}{{ m['content'] }}</s>{% endfor %}"
# What reads text with a model's folder, in seconds.
READ = (
    "generate model --prompt 111 --max-tokens 2",
    "generate model --prompt 111 --max-tokens 2 --chat --system the",
    "collapse model --lengths 2 --formats bf16 --families ones",
    "influence model --prompt 111 --probes 2",
    "models model",
)


def _damaged_tokenizer(rng: Random, room: Path, _: Path) -> Case:
    """A whole model whose tokenizer is damaged, or is another model's."""
    kind = rng.choice(sorted(TOKENIZERS))
    count, path, text = made(kind).get_vocab_size(), room / "model", kind
    added = {str(count): {"content": "<new>", "special": True}, "2": {"content": "</s>"}}
    folder_of(path, kind, chat_template=TURNS, added_tokens_decoder=added)
    (path / "generation_config.json").write_text('{"eos_token_id": [2]}')
    # One token is only in the configuration. Rows may be fewer than tokens, or more.
    rows = rng.choice((count + 1, count + 1, count + 1, count + 64, count, rng.randrange(1, count)))
    file = rng.choice(("tokenizer.json",) * 3 + ("tokenizer_config.json", "generation_config.json"))
    content = (path / file).read_bytes()
    match rng.choice(("bytes", "json", "json", "numbers", "template", "special", "gone", "whole")):
        case "bytes":
            (path / file).write_bytes(damage_bytes(rng, content, within=len(content)))
            text += f", damaged {file}"
        case "json":
            (path / file).write_text(json.dumps(damage_json(rng, json.loads(content))))
            text += f", damage within {file}"
        case "numbers":
            config = json.loads((path / "tokenizer_config.json").read_text())
            number = rng.choice((0, count - 1, count, count + 7, -1, 2**31, 2**64, "x"))
            name = rng.choice(("<new>", "", "1", "</s>", "<extra>", "\x1b[31m", "\n"))
            entry: object = {"content": name, "special": rng.choice((True, None, "x"))}
            entry = json_value(rng, entry) if rng.random() < 0.3 else entry
            config["added_tokens_decoder"][str(number)] = entry
            config["eos_token"], config["bos_token"] = rng.choice((name, None)), name
            (path / "tokenizer_config.json").write_text(json.dumps(config))
            text += f", {name!r} as token {number}"
        case "template":
            template = hostile_template(rng)
            (path / "chat_template.jinja").write_bytes(template)
            text += f", template {template[:60]!r}"
        case "special":
            special = rng.choice(("fifo", "folder", "loop"))
            (path / file).unlink()
            special_files(room)
            (room / special).rename(path / file)
            text += f", {file} is a {special}"
        case "gone":
            (path / file).unlink()
            text += f", no {file}"
    tensors = llama_tensors()
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        tensors[name] = np.random.default_rng(0).normal(size=(rows, 8)).astype(np.float32)
    folder(path, LLAMA | {"vocab_size": rows}, tensors)
    arguments = rng.choice(READ).split()
    shown = f"{text}, {rows} rows for {count} tokens: {' '.join(arguments)}"
    return Case(shown, lambda: main(arguments))


def _arguments(verb: str) -> list[str]:
    return [verb, *SMALL[verb].split()]


def made_models(folder: Path) -> None:
    """Makes the models that are damaged later.

    Args:
      folder: Gets a file of them.
    """
    script = Path(__file__).with_name("abuse_models.py")
    subprocess.run([sys.executable, script, folder / MODELS], check=True)


def finished_runs(folder: Path) -> None:
    """Makes the runs that are damaged later.

    Args:
      folder: Gets one run folder a verb.
    """
    for verb in FOLDERS:
        command = [sys.executable, "-m", "glassesjax", *_arguments(verb), "--out", folder / verb]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"Expected a run of {verb} to damage, got: {done.stderr}")


def _damaged_run(rng: Random, folder: Path, finished: Path) -> Case:
    verb = rng.choice(FOLDERS)
    out = folder / "run"
    shutil.copytree(finished / verb, out)
    path = rng.choice(sorted(path for path in out.rglob("*") if path.is_file()))
    text = f"{verb}, {path.relative_to(out)}: "
    match rng.choice(("json", "json", "json", "bytes", "folder", "gone")):
        case "json" if path.suffix in (".json", ".jsonl"):
            lines = path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]
            at = rng.randrange(len(lines))
            lines[at] = json.dumps(damage_json(rng, json.loads(lines[at])))
            path.write_text("\n".join(lines) + "\n")
            text += f"line {at + 1} is {lines[at][:200]}"
        case "folder":
            path.unlink()
            path.mkdir()
            text += "a folder"
        case "gone":
            path.unlink()
            text += "gone"
        case _:
            content = path.read_bytes() or b"\0"
            path.write_bytes(damage_bytes(rng, content, within=len(content)))
            text += "bytes"
    return Case(text, lambda: main([*_arguments(verb), "--out", "run"]))


def _command(rng: Random, folder: Path, _: Path) -> Case:
    special_files(folder)
    verb = rng.choice(sorted(SMALL))
    arguments = _arguments(verb)
    study = load(verb)
    known = flags(study.settings) | flags(study.options)
    for flag in rng.sample(sorted(known), min(rng.choice((1, 1, 1, 2, 3)), len(known))):
        kind, several = known[flag]
        if kind is bool:
            arguments.append(rng.choice((flag, f"--no-{flag[2:]}", f"{flag}=maybe")))
            continue
        read = flag not in ("--out", "--save")
        words = [word(rng, kind, read=read) for _ in range(rng.choice((0, 1, 2)) if several else 1)]
        arguments += [flag, *words * rng.choice((1, 1, 2) if several else (1,))]
    if rng.random() < 0.15 and len(arguments) > 1:
        arguments[1] = word(rng, Path)
    if rng.random() < 0.1:
        arguments.pop(rng.randrange(len(arguments)))
    columns = str(rng.choice((0, 1, 2, 3, 5, 7, 80, 10**6, -1)))
    shown = " ".join(map(repr, arguments))

    def run() -> None:
        os.environ["COLUMNS"] = columns
        main(arguments)

    return Case(f"COLUMNS={columns} glassesjax {shown[:600]}", run)


def _call(rng: Random, folder: Path, _: Path) -> Case:
    return Case(*draw_call(rng))


KINDS: dict[str, Callable[[Random, Path, Path], Case]] = {
    "gguf": _damaged_gguf,
    "folder": _damaged_folder,
    "safetensors": _damaged_safetensors,
    "tokenizer": _damaged_tokenizer,
    "run": _damaged_run,
    "command": _command,
    "call": _call,
}
"""How a case is made of a draw, an empty folder and the folder of finished runs."""
