"""The torch side of ``bench_train.py``: answers one JSON job a line with an eager training loop.

It runs in a Python of its own and imports nothing of ours. Jobs: ``load`` (sizes, recipe and
weights), ``rows`` (the task's rows, one for each length), ``losses`` (of some steps on given rows)
and ``steps`` (seconds for some steps on rows that it draws itself).

The loop is what one would write: no compiler, each step a forward pass, a backward pass, clipping,
AdamW and a schedule. Query, key and value are one product, and the optimizer is torch's fused one.
"""

import json
import math
import sys
import time
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Block(nn.Module):
    """One layer; attention is torch's own or written out."""

    def __init__(self, width: int, heads: int, eps: float, fused: bool) -> None:
        super().__init__()
        self.heads, self.fused = heads, fused
        self.norm1, self.norm2 = (nn.RMSNorm(width, eps=eps) for _ in range(2))
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.output = nn.Linear(width, width, bias=False)
        self.up = nn.Linear(width, 4 * width, bias=False)
        self.down = nn.Linear(4 * width, width, bias=False)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """The residual stream after this layer."""
        rows, seq, width = x.shape
        split = lambda y: y.view(rows, seq, self.heads, -1).transpose(1, 2)
        query, key, value = map(split, self.qkv(self.norm1(x)).chunk(3, dim=-1))
        if self.fused:
            y = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        else:
            scores = query @ key.transpose(-1, -2) / math.sqrt(width // self.heads)
            y = torch.softmax(scores.masked_fill(~mask, -math.inf), dim=-1) @ value
        x = x + self.output(y.transpose(1, 2).reshape(rows, seq, width))
        return x + self.down(F.gelu(self.up(self.norm2(x)), approximate="tanh"))


class Model(nn.Module):
    """A decoder with tied embedding and without positions."""

    def __init__(self, sizes: dict[str, Any], fused: bool) -> None:
        super().__init__()
        width, heads, eps = sizes["width"], sizes["heads"], sizes["eps"]
        self.scale = sizes["embed_scale"]
        self.table = nn.Embedding(sizes["vocab"], width)
        self.blocks = nn.ModuleList(Block(width, heads, eps, fused) for _ in range(sizes["layers"]))
        self.norm = nn.RMSNorm(width, eps=eps)
        mask = torch.ones(sizes["seq"], sizes["seq"], dtype=torch.bool).tril()
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Scores of each next token."""
        x = self.table(tokens) * self.scale
        for block in self.blocks:
            x = block(x, self.mask)
        return F.linear(self.norm(x), self.table.weight)


class Loop:
    """A model in training, and the rows that it learns from."""

    def __init__(self, job: dict[str, Any], fused: bool) -> None:
        self.sizes, self.recipe, self.device = job["sizes"], job["recipe"], job["device"]
        self.model = Model(self.sizes, fused)
        with np.load(job["path"]) as arrays:
            self.model.load_state_dict({n: torch.from_numpy(a) for n, a in arrays.items()})
        self.model.to(self.device)
        recipe = self.recipe
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=recipe["rate"], betas=(0.9, 0.98), eps=1e-8,
            weight_decay=recipe["weight_decay"], fused=True,
        )  # fmt: skip
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, self._share)

    def _share(self, step: int) -> float:
        warmup, steps = self.recipe["warmup"], self.recipe["steps"]
        if step < warmup:
            return step / warmup
        done = min(step - warmup, steps - warmup) / (steps - warmup)
        return (1 + math.cos(math.pi * done)) / 2

    def draw(self, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Rows ``<bos> 1...1 = DIGITS <eos>`` and which of their tokens are scored."""
        number, length = self.sizes["symbols"], lengths[:, None]
        place = torch.arange(self.sizes["seq"], device=self.device)[None]
        digits = 1 + (length >= 10).long() + (length >= 100).long()
        behind = place - length - 2  # from the first digit on
        power = 10 ** (digits - 1 - behind).clamp(min=0, max=2)
        tokens = torch.where(behind < digits, number["0"] + length // power % 10, number["<pad>"])
        tokens = torch.where(behind == digits, number["<eos>"], tokens)
        tokens = torch.where(behind == -1, number["="], tokens)
        tokens = torch.where(behind < -1, number["1"], tokens)
        tokens = torch.where(place == 0, number["<bos>"], tokens)
        return tokens, (behind >= 0) & (behind <= digits)

    def batch(self) -> tuple[Tensor, Tensor]:
        """Rows of random lengths."""
        size = (self.recipe["batch"],)
        low, high = self.recipe["lengths"]
        return self.draw(torch.randint(low, high + 1, size, device=self.device))

    def step(self, tokens: Tensor, scored: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """One step: loss, accuracy and the gradient's norm."""
        scores, wanted, on = self.model(tokens)[:, :-1], tokens[:, 1:], scored[:, 1:]
        losses = F.cross_entropy(scores.transpose(1, 2), wanted, reduction="none")
        count = on.sum()
        loss = (losses * on).sum() / count
        right = ((scores.argmax(-1) == wanted) & on).sum() / count
        self.optimizer.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe["clip"])
        self.optimizer.step()
        self.schedule.step()
        return loss.detach(), right, norm


LOOPS: dict[str, Loop] = {}
JOB: dict[str, Any] = {}


def load(job: dict[str, Any]) -> dict[str, Any]:
    """Loops with both kinds of attention, from the weights that were written for them."""
    JOB.update(job)
    if job["threads"]:
        torch.set_num_threads(job["threads"])
    for name in ("fused", "plain"):
        LOOPS[name] = Loop(job, name == "fused")
    return {"torch": torch.__version__, "torch_threads": torch.get_num_threads()}


def rows(job: dict[str, Any]) -> dict[str, Any]:
    """The row of each length."""
    tokens, scored = LOOPS["fused"].draw(torch.tensor(job["lengths"], device=JOB["device"]))
    return {"tokens": tokens.tolist(), "scored": scored.tolist()}


def losses(job: dict[str, Any]) -> dict[str, Any]:
    """What steps on given batches say of themselves, from the weights as they were loaded."""
    loop, told = Loop(JOB, job["kind"] == "fused"), []
    with np.load(job["path"]) as arrays:
        for tokens, scored in zip(arrays["tokens"], arrays["scored"], strict=True):
            put = lambda x: torch.from_numpy(x).to(JOB["device"])
            loss, _, norm = loop.step(put(tokens).long(), put(scored))
            told.append([float(loss), float(norm)])
    return {"told": told}


def steps(job: dict[str, Any]) -> dict[str, Any]:
    """Seconds for some steps."""
    loop, told = LOOPS[job["kind"]], []
    start = time.perf_counter()
    for _ in range(job["steps"]):
        told.append(loop.step(*loop.batch()))
    last = [float(x) for x in torch.stack([torch.stack(step) for step in told])[-1]]
    return {"seconds": time.perf_counter() - start, "told": last}


def main() -> None:
    """Answers jobs until there are no more."""
    answers = sys.stdout
    sys.stdout = sys.stderr  # what libraries print is no answer
    jobs = {each.__name__: each for each in (load, rows, losses, steps)}
    for line in sys.stdin:
        job = json.loads(line)
        answers.write(json.dumps(jobs[job["do"]](job)) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
