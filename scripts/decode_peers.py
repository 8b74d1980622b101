"""The torch side of ``bench_decode.py``: answers one JSON job a line, with torch and transformers.

It runs in a Python of its own and imports nothing of ours. Jobs: ``load`` (sizes and weights),
``decode`` (seconds for some tokens by ``generate``), ``logits`` (of a text, token by token,
positions given) and ``tiny`` (a small random Llama, its weights written to a file).
"""

import contextlib
import json
import sys
import time
from typing import Any

import numpy as np
import torch
import transformers
from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM

WARM = 4  # tokens that are generated before the clock counts
# The small model: weights this large make attention far from even, so that few decisions are ties.
TINY = {"vocab_size": 211, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
TINY |= {"num_key_value_heads": 2, "intermediate_size": 128, "max_position_embeddings": 512}
TINY |= {"initializer_range": 0.3, "rms_norm_eps": 1e-6, "tie_word_embeddings": False}
MODEL: dict[str, LlamaForCausalLM] = {}


class Clock:
    """When each token came; ``generate`` shows the prompt first."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def put(self, tokens: torch.Tensor) -> None:
        """One more."""
        self.times.append(time.perf_counter())

    def end(self) -> None:
        """No more."""


def llama(config: dict[str, Any]) -> LlamaForCausalLM:
    """A model with random weights."""
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**config, bos_token_id=None, eos_token_id=None))
    return model.eval()


def load(job: dict[str, Any]) -> dict[str, Any]:
    """The benchmark's model, with the weights that were written for it."""
    with torch.device("meta"):
        model = llama(job["config"])
    with np.load(job["path"]) as arrays:
        weights = {name: torch.from_numpy(array) for name, array in arrays.items()}
    model = model.to_empty(device="cpu")
    model.model.rotary_emb = type(model.model.rotary_emb)(model.config)  # it is no weight
    model.load_state_dict(weights, strict=False)
    model.tie_weights()
    MODEL["own"] = model
    return {"torch": torch.__version__, "transformers": transformers.__version__}


def tiny(job: dict[str, Any]) -> dict[str, Any]:
    """A small random Llama; its weights go to a file, its sizes back."""
    MODEL["tiny"] = llama(TINY)
    np.savez(job["path"], **{n: w.numpy() for n, w in MODEL["tiny"].state_dict().items()})
    return TINY


def decode(job: dict[str, Any]) -> dict[str, Any]:
    """Seconds for some more tokens after a context that a cache of random numbers stands for."""
    model, batch, context = MODEL["own"], job["batch"], job["context"]
    config = model.config
    shape = batch, config.num_key_value_heads, context, config.head_dim

    cache, clock = DynamicCache(config=config), Clock()
    for layer in range(config.num_hidden_layers):
        cache.update(torch.randn(shape), torch.randn(shape), layer)
    tokens, count = torch.ones((batch, context + 1), dtype=torch.long), WARM + job["tokens"]
    options = {"do_sample": False, "max_new_tokens": count, "min_new_tokens": count}
    options |= {"attention_mask": torch.ones_like(tokens), "streamer": clock}
    with pressed(model, job.get("slots")):
        model.generate(tokens, past_key_values=cache, **options)
    held = cache.layers[0].keys.shape[2]
    return {"seconds": clock.times[-1] - clock.times[WARM], "held": held}


def logits(job: dict[str, Any]) -> dict[str, Any]:
    """Logits at each token of a text read one by one; they go to a file."""
    model, rows = MODEL[job["model"]], []
    cache = DynamicCache(config=model.config)
    with torch.no_grad(), pressed(model, job.get("slots")):
        for position, token in enumerate(job["text"]):
            where = {"position_ids": torch.tensor([[position]])}
            if job.get("slots"):
                where["cache_position"] = torch.tensor([position])
            out = model(torch.tensor([[token]]), past_key_values=cache, use_cache=True, **where)
            rows.append(out.logits[0, -1].numpy())
    np.save(job["path"], np.stack(rows))
    return {}


def pressed(model: LlamaForCausalLM, slots: int | None) -> contextlib.AbstractContextManager:
    """The model under kvpress's TOVA that decides after each token, or as it is."""
    if slots is None:
        return contextlib.nullcontext()
    from kvpress import DecodingPress, TOVAPress

    options = {"compression_interval": 1, "target_size": slots, "hidden_states_buffer_size": 0}
    return DecodingPress(base_press=TOVAPress(), **options)(model)


def main() -> None:
    """Answers jobs until there are no more."""
    answers = sys.stdout
    sys.stdout = sys.stderr  # what libraries print is no answer
    torch.set_grad_enabled(False)
    jobs = {each.__name__: each for each in (load, tiny, decode, logits)}
    for line in sys.stdin:
        job = json.loads(line)
        answers.write(json.dumps(jobs[job["do"]](job)) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
