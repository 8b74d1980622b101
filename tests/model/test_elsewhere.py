"""Folders that are opened over several devices, and models in the hub's local cache."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from model.made_folders import LLAMA, folder
from model.made_mesh import decoded, dense

from glassesjax import open_model

TESTS = Path(__file__).parents[1]
WIDE = LLAMA | {"hidden_size": 128, "intermediate_size": 512, "head_dim": 32}
U = 2.0**-24


def wide_tensors():
    """Of ``WIDE``: MLPs large enough to be sharded, and small queries and keys."""
    rng = np.random.default_rng(0)
    shapes = {
        "self_attn.q_proj": (128, 128),
        "self_attn.k_proj": (64, 128),
        "self_attn.v_proj": (64, 128),
        "self_attn.o_proj": (128, 128),
        "mlp.gate_proj": (512, 128),
        "mlp.up_proj": (512, 128),
        "mlp.down_proj": (128, 512),
        "input_layernorm": (128,),
        "post_attention_layernorm": (128,),
    }
    every = {f"model.layers.{i}.{n}.weight": s for i in range(2) for n, s in shapes.items()}
    every |= {"model.embed_tokens.weight": (11, 128), "model.norm.weight": (128,)}
    every |= {"lm_head.weight": (11, 128)}
    return {name: rng.normal(size=s).astype(np.float32) * 0.1 for name, s in every.items()}


def child(script, *words, **environment):
    """Runs a script of these tests or a command in a process of its own."""
    paths = os.pathsep.join((str(TESTS), str(TESTS.parent)))
    return subprocess.run(
        [sys.executable, *script, *map(str, words)],
        env={**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": paths, **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_weights_over_two_devices_are_the_same_model(tmp_path):
    where = folder(tmp_path / "wide", WIDE, wide_tensors())
    ended = child([TESTS / "model/made_mesh.py"], where, tmp_path / "x", JAX_NUM_CPU_DEVICES="2")
    assert ended.returncode == 0, ended.stderr
    with np.load(tmp_path / "x.npz", allow_pickle=False) as found:
        held = dict(zip(found["names"].tolist(), found["held"].tolist(), strict=True))
        others = found["dense"], found["decoded"]
    assert held["blocks.mlp.up"] == held["blocks.mlp.down"] == held["blocks.attention.key"] == 0.5
    assert held["final_norm.gain"] == held["embed.table"] == 1.0
    decoder = open_model(where).decoder
    for ours, theirs in zip((dense(decoder), decoded(decoder)), others, strict=True):
        # Sums of up to 512 terms in two parts, in five products a layer.
        limit = 512 * 10 * U * np.max(np.abs(ours))
        np.testing.assert_allclose(theirs, ours, rtol=0, atol=limit)


needs_hub = pytest.mark.skipif(
    importlib.util.find_spec("huggingface_hub") is None, reason="huggingface_hub is not installed"
)


@pytest.fixture
def hub(tmp_path):
    """A local cache that holds ``org/small``, laid out as a download leaves it."""
    cached = tmp_path / "hub" / "models--org--small"
    made = folder(tmp_path / "made")
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text("0123abcd")
    snapshot = cached / "snapshots" / "0123abcd"
    (cached / "blobs").mkdir()
    snapshot.mkdir(parents=True)
    for file in made.iterdir():  # snapshots are links to files that are named by their digests
        file.rename(blob := cached / "blobs" / f"digest-of-{file.stem}")
        (snapshot / file.name).symlink_to(blob)
    return tmp_path


def described(hub, name):
    return child(["-m", "glassesjax"], "models", name, HF_HUB_CACHE=str(hub / "hub"))


@needs_hub
def test_a_model_in_the_cache_of_the_hub_opens_by_its_name(hub):
    ended = described(hub, "org/small")
    assert ended.returncode == 0, ended.stderr
    assert "llama" in ended.stdout.lower()


@needs_hub
def test_a_model_that_is_not_in_the_cache_is_refused_with_the_command_that_downloads_it(hub):
    ended = described(hub, "org/other")
    assert ended.returncode == 2
    (line,) = ended.stderr.strip().splitlines()
    assert "hf download org/other" in line
    assert not (hub / "hub" / "models--org--other").exists()
