"""Settings of the train study: task, prompt format, decoder and training."""

import dataclasses
import functools
import math
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

import tyro

from glassesjax.errors import BadInput
from glassesjax.model import Causal, DecoderConfig, DenseMlp, RMSNorm, Window
from glassesjax.precision import named_plan, plan_name
from glassesjax.runs.formats import PLANS
from glassesjax.settings import MOST, check_each, check_settings
from glassesjax.studies.train.switches import (
    MASKS,
    POSITIONS,
    TEMPERATURES,
    named_mask,
    named_positions,
)
from glassesjax.tasks.prompt_format import item_width, named_format, width
from glassesjax.tasks.table import named_task
from glassesjax.tasks.task import LengthMix
from glassesjax.train.config import AXES, TrainConfig, check_answer_hidden, check_mesh
from glassesjax.train.optimizer import AdamW, WeightDecayOn

HELP = f"Where the trained decoders round when they answer, one or more: {PLANS}"
BEYOND = 16  # times the longest length of training: how far an evaluation goes
COPYING_TASKS = ("copy_at", "copy_string")  # whose answers copy tokens of many places
ONE_DIGIT = 9  # the largest count of one token, and the length of items that can all be read
NOTHING = -1  # a seed, length or place that a row is not about

# What a preset sets where a flag does not.
PRESETS: Mapping[str, Mapping[str, Any]] = {
    "quick": {
        "lengths": (2, 32), "layers": 2, "heads": 4, "width": 32, "steps": 2000, "batch": 32,
        "examples": 64,
    },
    "full": {
        "lengths": (2, 128), "layers": 4, "heads": 4, "width": 64, "steps": 20000, "batch": 64,
        "examples": 256,
    },
}  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """What does a small decoder learn of a task, and how far beyond its training does that go?"""

    task: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="TASK")]
    """copy_first, copy_last, copy_zero, copy_at, copy_string, copy_alternating, copy_hint,
    count_ones, count_mixed, sum_ones, count_word, recall or max_retrieval."""
    preset: Literal["quick", "full"] = "quick"
    """Sizes where no flag gives them: minutes on two cores, or larger ones for an accelerator."""
    remedy: str = "none"
    """How it is laid out: REMEDY[-NUMBER][+REMEDY...] out of none, no_bos, separators,
    separators_end, twice, question_first, steps, scratch, no_stop."""
    lengths: tuple[int, int] = (0, 0)
    """Shortest and longest item of the training, in tokens (in pairs for recall); 0 0: the preset's
    (quick 2 32, full 2 128)."""
    mix: Literal["uniform", "log"] = "uniform"
    """How often each length: all alike, or each doubling as often as the next."""
    layers: int = 0
    """Layers of the decoder; 0: the preset's (quick 2, full 4)."""
    heads: int = 0
    """Heads of each layer, which divide the width; 0: the preset's (4)."""
    width: int = 0
    """Width of the residual stream; 0: the preset's (quick 32, full 64)."""
    positions: str = "none"
    """Positional encoding: none, sinusoidal, sinusoidal_query_key, learned, rotary, p-rope (three
    quarters of the frequencies), alibi."""
    mask: str = "causal"
    """Attention mask: causal (itself and all before it), window-N (N of these), or none (all
    tokens; then only the first token of the answer is scored)."""
    temperature: Literal["constant", "scalable", "adaptive"] = "constant"
    """Factor of the attention logits: none, s log n for n keys (scalable softmax; s is trained), or
    from the row's entropy (adaptive temperature)."""
    steps: int = 0
    """Training steps; 0: the preset's (quick 2000, full 20000)."""
    batch: int = 0
    """Examples a step; 0: the preset's (quick 32, full 64)."""
    parts: int = 1
    """Microbatches of a batch; more of them take less memory."""
    remat: bool = False
    """Rematerialize activations for the gradient: less memory, more time."""
    rate: float = 3e-3
    """Largest learning rate; it climbs from 0 for a twentieth of the steps (the first step changes
    nothing) and falls as a cosine."""
    seeds: int = 1
    """Decoders that are trained in one program, from seeds 0, 1, ..."""
    arithmetic: str = "f32"
    """Where training rounds, as --formats; master weights are float32."""
    formats: Annotated[tuple[str, ...], tyro.conf.arg(help=HELP)] = ("f32", "bf16", "f16", "e4m3fn")
    """Plans by name."""
    examples: int = 0
    """Evaluation examples of each length and format; 0: the preset's (quick 64, full
    256)."""
    influence_examples: int = 0
    """For copy_at and copy_string: examples of each position of the item whose answer is
    differentiated, to compare accuracy with influence, rollout and bound; none with 0."""
    weight_decay_on: WeightDecayOn = "matrices"
    """Which weights decay: matrices and tables, or all, gains and temperatures included."""
    chunk: int = 100
    """Steps in a call, and between two checkpoints."""
    mesh: tuple[int, int, int] = (1, 1, 1)
    """Devices along seeds, along the batch, and along the parameters of each decoder."""

    def __post_init__(self) -> None:
        check_settings(self)
        # Sizes of the preset where none is given: 0 stands for absent, as flags have it.
        for name, value in PRESETS[self.preset].items():
            if getattr(self, name) in (0, (0, 0)):
                object.__setattr__(self, name, value)
        check_each(self._checks)
        training = self.training
        # What would have no effect at any evaluated length is refused, not passed over.
        item = _item_width(self.task, self.tested[-1])
        most = max(training.prompt_format.separators, training.prompt_format.steps)
        mask = named_mask(self.mask)
        seen = mask.width if isinstance(mask, Window) else 0
        counts = f"a --remedy that counts to {item}, the longest item"
        check_each([(most <= item, counts, self.remedy)])
        rows = f"a --mask window up to the longest row, {self.room}"
        check_each([(seen <= self.room, rows, self.mask)])
        check_answer_hidden(self.config, training.prompt_format)
        check_mesh(dict(zip(AXES, self.mesh, strict=True)), self.seeds, training)
        for name in self.formats:
            named_plan(name)  # raises an error for an unknown format
        # Rows have a format's own name, by whichever it was asked for.
        object.__setattr__(self, "arithmetic", plan_name(self.arithmetic))
        object.__setattr__(self, "formats", tuple(map(plan_name, self.formats)))
        check_settings(self)

    @property
    def _checks(self) -> Iterable[tuple[bool, str, object]]:
        """Checks of single settings: condition, expected and given value.

        One by one, so that what a later check computes is defined once the earlier ones hold.
        """
        known = self.positions in POSITIONS
        yield known, f"--positions out of {', '.join(POSITIONS)}", self.positions
        yield named_mask(self.mask) is not None, f"a --mask out of {MASKS}", self.mask
        tasks = " or ".join(COPYING_TASKS)
        expected = f"--influence-examples with a causal or window mask and {tasks}"
        # Influence is of one token on a later one, which must copy it.
        may = not self.influence_examples or (self.task in COPYING_TASKS and self.mask != "none")
        yield may, expected, f"{self.mask} and {self.task}"
        low, high = self.lengths
        yield low >= 2, "--lengths of 2 or more", low
        yield high >= low, "--lengths with the shortest first", f"{low} {high}"
        far = f"--lengths up to {MOST // BEYOND}, since {BEYOND} times as long is answered"
        yield BEYOND * high <= MOST, far, high
        for name in ("layers", "heads", "width", "steps", "batch", "parts", "seeds", "examples",
                     "chunk"):  # fmt: skip
            number = getattr(self, name)
            yield number >= 1, f"--{name} of 1 or more", number
        divides = self.width % self.heads == 0
        yield divides, "a --width that --heads divides", f"{self.width} and {self.heads}"
        yield (
            self.influence_examples >= 0,
            "--influence-examples of 0 or more",
            self.influence_examples,
        )
        yield 0 < self.rate < math.inf, "a finite --rate over 0", self.rate
        yield min(self.mesh) >= 1, "a --mesh of three numbers from 1", self.mesh

    @functools.cached_property  # a sweep uses it several times for each of thousands of cells
    def training(self) -> TrainConfig:
        """How the decoders are trained."""
        task, (low, high) = named_task(self.task), self.lengths
        if low < task.least:
            expected = f"Expected --lengths of {task.least} or more"
            raise BadInput(f"{expected}, got {low}: use longer ones.")
        plan = named_plan(self.arithmetic)
        return TrainConfig(
            task=task,
            mix=LengthMix(low=low, high=high, kind=self.mix),
            prompt_format=named_format(self.remedy),
            batch=self.batch,
            parts=self.parts,
            steps=self.steps,
            warmup=self.steps // 20,
            plan=None if plan.mode == "wide" else plan,
            remat=self.remat,
            optimizer=AdamW(weight_decay_on=self.weight_decay_on),
        )

    @functools.cached_property
    def config(self) -> DecoderConfig:
        """The decoder that is trained."""
        try:
            return DecoderConfig(
                vocab_size=len(named_task(self.task).symbols),
                num_layers=self.layers,
                num_heads=self.heads,
                model_dim=self.width,
                positions=named_positions(self.positions, self.room),
                mask=named_mask(self.mask) or Causal(),
                temperature=TEMPERATURES[self.temperature],
                norm=RMSNorm(),
                mlp=DenseMlp(),
                embed_scale=self.width**0.5,
                max_length=self.room,
            )
        except ValueError as error:
            raise BadInput(f"Expected a decoder of sizes that fit: {error}") from error

    @property
    def room(self) -> int:
        """Tokens of the longest row that is answered."""
        return _width(self.task, self.remedy, self.tested[-1])

    @property
    def row(self) -> int:
        """Tokens of a row of the training, padding included."""
        return _width(self.task, self.remedy, self.lengths[1])

    @property
    def tested(self) -> tuple[int, ...]:
        """Lengths that are answered: doublings of the shortest, up to far beyond the longest."""
        low, high = self.lengths
        # Doublings end below the longest, which is added with the boundary of the training.
        doubled = [low * 2**k for k in range(32) if low * 2**k < BEYOND * high]
        return tuple(sorted({*doubled, high, BEYOND * high}))

    @property
    def asked(self) -> tuple[int, ...]:
        """What is answered: a mix as in training, then the tested lengths."""
        return (NOTHING, *self.tested)

    @property
    def calls(self) -> int:
        """Calls of the training, then steps for formats, lengths of influence, and the ratio."""
        # Per format answers and pairs; pairs in float64; and three lengths of influence.
        asked = 2 * len(self.formats) + 1 + 3 * bool(self.influence_examples) + self.asks_ratio
        return -(-self.steps // self.chunk) + asked

    @property
    def asks_ratio(self) -> bool:
        """Whether the ratio test applies: the task has few enough items to evaluate them all."""
        short = 2 * self.lengths[0] <= self.lengths[1] <= ONE_DIGIT and self.mix == "uniform"
        return self.task == "count_mixed" and short and not self.training.prompt_format.steps


@functools.lru_cache(maxsize=4096)  # ten milliseconds; a sweep calls it many times for each cell
def _width(task: str, remedy: str, size: int) -> int:
    """Tokens of a row of an item of a length."""
    return width(named_task(task), named_format(remedy), size)


@functools.lru_cache(maxsize=4096)
def _item_width(task: str, size: int) -> int:
    return item_width(named_task(task), size)
