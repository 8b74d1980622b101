"""The near side of ``decode_peers.py``: a peer's process, and our weights under its names."""

import contextlib
import functools
import json
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from glassesjax.cache import policy, replay
from glassesjax.model import (
    Decoder,
    DecoderConfig,
    GatedMlp,
    RMSNorm,
    Rotary,
    build_decoder,
    flat_parameters,
)

NAMES = {  # ours within a layer, theirs
    "norm1.gain": "input_layernorm",
    "attention.query": "self_attn.q_proj",
    "attention.key": "self_attn.k_proj",
    "attention.value": "self_attn.v_proj",
    "attention.output": "self_attn.o_proj",
    "norm2.gain": "post_attention_layernorm",
    "mlp.gate": "mlp.gate_proj",
    "mlp.up": "mlp.up_proj",
    "mlp.down": "mlp.down_proj",
}
OUTER = {"embed.table": "model.embed_tokens", "final_norm.gain": "model.norm"}
OUTER |= {"unembed": "lm_head"}
PARITY = 1e-4  # of kvpress's logits in float32: sums in another order, over tens of steps
# Of the largest logit, 170 unit roundoffs of float32: sums of hundreds of terms in another order,
# layer upon layer. A weight or an angle in the wrong place moves logits by their own size.
SAME = 1e-5


class Peer:
    """A process that answers jobs with torch; see ``decode_peers.py`` and ``train_peers.py``."""

    def __init__(self, python: Path, script: str = "decode_peers.py") -> None:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        self.log = tempfile.TemporaryFile("w+")  # noqa: SIM115  (as long as the process)
        pipes["stderr"] = self.log
        command = [str(python), "-W", "ignore", str(Path(__file__).parent / script)]
        self.process = subprocess.Popen(command, text=True, **pipes)

    def ask(self, do: str, **job: object) -> dict[str, Any]:
        """The answer to one job."""
        self.process.stdin.write(json.dumps({"do": do, **job}) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            self.log.seek(0)
            raise SystemExit(f"The peer failed at {do}:\n{self.log.read()[-3000:]}")
        return json.loads(answer)

    def load(self, decoder: Decoder) -> dict[str, Any]:
        """Gives it our weights; its versions."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "weights.npz"
            np.savez(path, **their_arrays(decoder))
            return self.ask("load", path=str(path), config=their_config(decoder.config))

    def logits(self, model: str, text: list[int], slots: int | None = None) -> np.ndarray:
        """Logits at each token of a text that it reads token by token."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "logits.npy"
            self.ask("logits", model=model, text=text, slots=slots, path=str(path))
            return np.load(path)

    def close(self) -> None:
        """Ends it."""
        with contextlib.suppress(BrokenPipeError):  # it may have failed
            self.process.stdin.close()
        self.process.wait()
        self.log.close()


def their_config(config: DecoderConfig) -> dict[str, Any]:
    """Llama's settings under transformers' names."""
    if not (isinstance(config.positions, Rotary) and isinstance(config.norm, RMSNorm)):
        raise SystemExit("Expected a model of Llama's kind for the peers.")
    return {
        "vocab_size": config.vocab_size,
        "hidden_size": config.model_dim,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads,
        "num_key_value_heads": config.kv_heads,
        "head_dim": config.key_dim,
        "intermediate_size": config.mlp_dim,
        "max_position_embeddings": 8192,
        "rms_norm_eps": config.norm.eps,
        "rope_theta": config.positions.base,
        "rope_parameters": {"rope_type": "default", "rope_theta": config.positions.base},
        "tie_word_embeddings": config.tied,
    }


def their_arrays(decoder: Decoder) -> dict[str, np.ndarray]:
    """Weights under transformers' names, query and key rows in its order of rotation."""
    found = {name: np.asarray(x, np.float32) for name, x in flat_parameters(decoder).items()}
    config, arrays = decoder.config, {}
    for name, theirs in OUTER.items():
        if name in found:
            arrays[f"{theirs}.weight"] = found[name]
    for name, theirs in NAMES.items():
        stacked = found[f"blocks.{name}"]
        if name in ("attention.query", "attention.key"):
            stacked = _halves(stacked, config)
        for index, weight in enumerate(stacked):
            arrays[f"model.layers.{index}.{theirs}.weight"] = weight
    return arrays


def _halves(stacked: np.ndarray, config: DecoderConfig) -> np.ndarray:
    """Rows of neighboring pairs as rows of two halves, head by head."""
    if config.positions.style == "half":
        return stacked
    layers, rows, width = stacked.shape
    pairs = stacked.reshape(layers, -1, config.key_dim // 2, 2, width)
    return np.ascontiguousarray(pairs.swapaxes(2, 3)).reshape(layers, rows, width)


def our_arrays(theirs: Mapping[str, np.ndarray], num_layers: int) -> dict[str, np.ndarray]:
    """A Llama's weights under our names, stacked over layers."""
    stack = lambda name: np.stack(
        [theirs[f"model.layers.{index}.{name}.weight"] for index in range(num_layers)]
    )
    layers = {f"blocks.{ours}": stack(name) for ours, name in NAMES.items()}
    return layers | {ours: theirs[f"{name}.weight"] for ours, name in OUTER.items()}


def parity(peer: Peer, *, slots: int = 16, length: int = 80) -> float:
    """Largest difference of logits to kvpress's TOVA on a small random Llama, token by token.

    kvpress protects the newest token, so ours is ``tova@1``; positions are given explicitly, for
    without them kvpress's model counts what is left in its cache.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tiny.npz"
        sizes = peer.ask("tiny", path=str(path))
        with np.load(path) as arrays:
            weights = our_arrays(arrays, sizes["num_hidden_layers"])
    config = DecoderConfig(
        vocab_size=sizes["vocab_size"],
        num_layers=sizes["num_hidden_layers"],
        num_heads=sizes["num_attention_heads"],
        num_kv_heads=sizes["num_key_value_heads"],
        model_dim=sizes["hidden_size"],
        positions=Rotary(base=10_000.0, style="half"),
        norm=RMSNorm(eps=sizes["rms_norm_eps"]),
        mlp=GatedMlp(dim=sizes["intermediate_size"]),
        tied=False,
    )
    text = np.random.default_rng(0).integers(0, sizes["vocab_size"], length).astype(np.int32)
    theirs = peer.logits("tiny", text.tolist(), slots)
    ours = replay(build_decoder(config, weights), text, policy("tova@1"), slots=slots).logits
    return float(np.max(np.abs(np.asarray(ours) - theirs)))


def agrees(decoder: Decoder, peers: Mapping[str, Peer]) -> list[dict[str, Any]]:
    """Logits of the peers against ours: the same weights, and kvpress's TOVA token by token."""
    if not peers:
        return []
    rows, text = [], np.arange(24, dtype=np.int32) * 7 % decoder.config.vocab_size
    wanted = np.asarray(replay(decoder, text, policy("full")).logits)
    scale = float(np.max(np.abs(wanted)))
    for name, peer in peers.items():
        gap = float(np.max(np.abs(peer.logits("own", text.tolist()) - wanted)))
        row = {"side": name, "check": "same weights", "gap": gap, "bound": SAME * scale}
        rows.append(row | {"scale": scale})
        if name.startswith("kvpress"):
            rows.append({"side": name, "check": "tova@1", "gap": parity(peer), "bound": PARITY})
    for row in rows:
        print(json.dumps(row), flush=True)
    return rows


def wrong(rows: Sequence[Mapping[str, Any]]) -> str:
    """A line on each side whose logits are not ours, NaN included; empty if there is none."""
    bad = [row for row in rows if "gap" in row and not row["gap"] <= row["bound"]]
    line = "{side}, {check}: logits differ by {gap:.1e}, over {bound:.1e}."
    return "\n".join(line.format(**row) for row in bad)


def peer_run(
    peer: Peer, context: int, batch: int, tokens: int, slots: int | None
) -> Callable[[], float]:
    """A turn of a peer's ``generate``."""
    job = {"context": context, "batch": batch, "tokens": tokens, "slots": slots}
    return functools.partial(_seconds, peer, job)


def _seconds(peer: Peer, job: dict[str, Any]) -> float:
    answer, slots = peer.ask("decode", **job), job["slots"]
    if slots is not None:
        least = min(slots, job["context"] + job["tokens"])  # a short text does not fill it
        if not least <= answer["held"] <= slots + 1:
            wanted = f"Expected a peer that holds {least} to {slots + 1} tokens"
            raise SystemExit(f"{wanted}, got {answer['held']}: what was timed is another policy.")
    return answer["seconds"]
