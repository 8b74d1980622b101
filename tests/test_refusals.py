"""What settings, disk and a model's header can refuse is refused before a weight is read."""

import dataclasses
import math
import typing

import jax
import pytest
from model.made_gguf import llama_file
from test_choices import MADE, made

from glassesjax import memory
from glassesjax.arguments import parsed
from glassesjax.cache.budget import resolve_slots
from glassesjax.cache.budget_text import check_budget
from glassesjax.cache.policies import POLICIES, policy
from glassesjax.cli import run
from glassesjax.errors import BadInput
from glassesjax.model import (
    Bidirectional,
    Decoder,
    DecoderConfig,
    GatedMlp,
    Learned,
    folder_model,
    pretrained,
    weights,
)
from glassesjax.model.gguf_file import GgufTensors
from glassesjax.model.stored import save_decoder
from glassesjax.model.weights import decoder_bytes
from glassesjax.precision.named import named_plan
from glassesjax.settings import decimal_number, whole_number
from glassesjax.studies.perplexity.stretches import stretch_count, stretch_start
from glassesjax.studies.train import memory as train_memory
from glassesjax.studies.train.measure import mesh_of
from glassesjax.studies.train.settings import TrainSettings
from glassesjax.surveys.sweep.run import _check_sizes
from glassesjax.surveys.sweep.settings import SweepSettings
from glassesjax.tasks.prompt_format import PromptFormat, named_format
from glassesjax.tasks.sequences import SYMBOLS

HUGE = 10**13
ARABIC, WIDE = "\N{ARABIC-INDIC DIGIT THREE}", "\N{FULLWIDTH DIGIT TWO}"  # which int() takes


class WeightsRead(Exception):
    """Somebody has read a weight."""


def read(*args, **kwargs):
    raise WeightsRead


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A model that reads text, one over digits, and one whose tokens see later ones."""
    folder = tmp_path_factory.mktemp("models")
    sizes = {"vocab_size": len(SYMBOLS), "num_layers": 1, "model_dim": 4, "max_length": 64}
    llama_file(folder / "text.gguf")
    for name, mask in (("digits", {}), ("later", {"mask": Bidirectional()})):
        decoder = Decoder(DecoderConfig(**sizes, **mask), key=jax.random.key(0))
        save_decoder(folder / f"{name}.safetensors", decoder, SYMBOLS, {"weights": "made"})
    named = {path.stem: str(path) for path in folder.iterdir()}
    return named | {"toy": "toy", "smollm2": "smollm2"}


@pytest.fixture
def unread(monkeypatch):
    """Every way to weights of a named model ends the test."""
    for name in ("Decoder", "load_decoder"):
        monkeypatch.setattr(pretrained, name, read)
    for name in ("build_decoder", "read_arrays"):
        monkeypatch.setattr(folder_model, name, read)
    for name in ("__getitem__", "rows"):
        monkeypatch.setattr(GgufTensors, name, read)


@pytest.fixture
def refused(unread, models, tmp_path, monkeypatch, capsys):
    """Runs a command whose refusal is one line, and which leaves nothing."""
    monkeypatch.setenv("GLASSESJAX_NOVELS", str(tmp_path / "none"))
    (tmp_path / "letters").write_text("abc" * 99)
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "notes").touch()
    monkeypatch.chdir(tmp_path)

    def call(verb, model, words):
        before = sorted(tmp_path.rglob("*"))
        given = [verb, *([models[model]] if model else []), *words.split()]
        assert run(given) == 2
        assert sorted(tmp_path.rglob("*")) == before
        [line] = capsys.readouterr().err.splitlines()
        return line

    return call


EARLY = {
    "slots that are no number": ("generate", "text", "--prompt ab --slots lots", "'lots'"),
    "slots below a policy's": (
        "generate", "text", "--prompt ab --max-tokens 4 --slots 0", "at least 1 slots"
    ),
    "no folder to save in": ("generate", "text", "--prompt ab --save no/s.npz", "no/s.npz"),
    "a folder to save over": ("generate", "text", "--prompt ab --save taken", "which is a folder"),
    "no state to resume": ("generate", "text", "--resume no.npz", "no.npz"),
    "answers beyond the context": ("generate", "text", "--prompt ab --max-tokens 64", "64 tokens"),
    "a prompt of other letters": ("generate", "text", "--prompt xyz", "'x'"),
    "no chat template": ("longform", "text", "--prompt ab --chat", "chat"),
    "a text beyond the context": ("longform", "text", "--prompt ab --max-tokens 64", "64 tokens"),
    "a novel that is not here": ("perplexity", "text", "--text persuasion", "Jane Austen"),
    "windows beyond the context": ("perplexity", "text", "--text letters --windows 65", "got 65"),
    "a text for digits": ("perplexity", "digits", "--text letters", "leave --text out"),
    "no file of text": ("retention", "text", "--text none.txt", "none.txt"),
    "bytes too few": (
        "retention", "text", "--text letters --max-tokens 9 --slots 1B", "at least 1 slots"
    ),
    "a layer that is not there": (
        "influence", "text", "--text letters --method exact --spectral 3", "from 0 to 2"
    ),
    "passages beyond the context": (
        "influence", "text", "--text letters --max-tokens 65 --passages 1", "at most 64 tokens"
    ),
    "digits for letters": ("bounded", "text", "--kinds collapse --lengths 4", "'1'"),
    "runs beyond the context": ("bounded", "digits", "--lengths 65", "64 tokens"),
    "prompts beyond the context": ("collapse", "digits", "--lengths 65", "64 tokens"),
    "slots of questions that are no number": ("recall", "text", "--slots many", "'many'"),
    "a seed that is not there": ("collapse", "toy", "--seed -1", "seed"),
    "a folder of other things": ("influence", "toy", "--out taken", "taken"),
    "a file for a folder": ("influence", "toy", "--out letters", "no folder"),
    "a file on the way": ("influence", "toy", "--out letters/run", "no folder"),
    "a folder that cannot be": ("influence", "toy", "--out /proc/run", "/proc/run"),
    "a task's folder": ("train", "", "count_ones --out letters", "no folder"),
}  # fmt: skip


@pytest.mark.parametrize(("verb", "model", "words", "text"), EARLY.values(), ids=EARLY)
def test_a_refusal_comes_before_weights(refused, verb, model, words, text):
    assert text in refused(verb, model, words)


@pytest.mark.models
def test_lengths_that_hold_too_few_verses_are_refused_before_weights(refused):
    assert "128 tokens" in refused("recall", "smollm2", "--lengths 128")


LATER = {
    "collapse": "--lengths 4", "influence": "--prompt 1", "generate": "--prompt 1 --max-tokens 4",
    "bounded": "--lengths 4", "perplexity": "", "retention": "--max-tokens 9",
    "longform": "--max-tokens 4",
}  # fmt: skip


@pytest.mark.parametrize(("verb", "words"), LATER.items(), ids=LATER)
def test_tokens_that_see_later_ones_are_refused_before_weights(refused, verb, words):
    assert "mask" in refused(verb, "later", words) or "order" in refused(verb, "later", words)


def test_what_is_right_reads_the_weights(unread, models, tmp_path):
    for verb, model, words in (
        (
            "generate",
            "text",
            f"--prompt ab --max-tokens 4 --slots 4 --save {tmp_path / 'state.npz'}",
        ),
        ("collapse", "digits", "--lengths 4"),
        ("influence", "toy", "--max-tokens 4"),
    ):
        with pytest.raises(WeightsRead):
            run([verb, models[model], *words.split(), "--out", str(tmp_path / verb)])
    assert not list(tmp_path.iterdir())


def fields_of(kind, of):
    """Fields whose values are numbers of that type, or lists of them."""
    hints = typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):
        hint = hints[field.name]
        if of in (hint, *typing.get_args(hint)):
            yield field.name, typing.get_origin(hint) is tuple, typing.get_args(hint)


SETTINGS = {kind: fields for kind, fields in MADE.items() if "Settings" in kind.__name__}
WHOLES = [(kind, *field) for kind in MADE for field in fields_of(kind, int)]


@pytest.mark.parametrize(
    ("kind", "name", "several", "parts"), WHOLES, ids=lambda x: getattr(x, "__name__", str(x))
)
def test_a_number_beyond_int32_is_refused_by_name(kind, name, several, parts):
    value = (HUGE,) * (1 if Ellipsis in parts else len(parts)) if several else HUGE
    with pytest.raises(BadInput, match=name.replace("_", ".")) as refusal:
        made(kind, **MADE[kind] | {name: value})
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("kind", SETTINGS, ids=lambda kind: kind.__name__)
def test_a_value_twice_in_a_list_is_refused(kind):
    hints = typing.get_type_hints(kind)
    lists = [f.name for f in dataclasses.fields(kind) if "..." in str(hints[f.name])]
    samples = {"grid": "steps=2", "positions": "none", "text": "kjv", "only": "lem_b1",
               "stop": "a", "spectral": 1}  # fmt: skip
    for name in set(lists) - {"prompt", "prompt_tokens"}:  # a token may come twice
        value = samples.get(name) or getattr(made(kind, **SETTINGS[kind]), name)[0]
        with pytest.raises(BadInput, match=f"different --{name}|{name} twice"):
            made(kind, **SETTINGS[kind] | {"model": "toy", "method": "exact", name: (value, value)})


def test_a_prompt_twice_needs_draws():
    assert run(["generate", "toy", "--prompt", "1", "1", "--max-tokens", "x"]) == 2
    kind = next(kind for kind in SETTINGS if kind.__name__ == "GenerateSettings")
    made(kind, model="toy", prompt=("1", "1"), temperature=1.0)
    with pytest.raises(BadInput, match="twice"):
        made(kind, model="toy", prompt=("1", "1"))


@pytest.mark.parametrize("word", [ARABIC, "1_000", WIDE, "1.0", "", " 1", "1e3", "0x1", "9" * 5000])
def test_whole_numbers_are_digits_of_ascii(word):
    with pytest.raises(ValueError, match="digits 0 to 9"):
        whole_number(word)
    assert run(["collapse", "toy", "--lengths", word]) == 2
    assert run(["sweep", "--grid", f"steps={word}"]) == 2


@pytest.mark.parametrize(
    "word", [ARABIC, "1_0.5", WIDE, f"0.{ARABIC}", f"1e{ARABIC}", "", ".", "one"]
)
def test_numbers_are_digits_of_ascii(word):
    with pytest.raises(ValueError, match="digits 0 to 9"):
        decimal_number(word)
    assert run(["recall", "smollm2", "--depths", word]) == 2
    assert [decimal_number(word) for word in ("1", "-.5", "2.", "1e-3")] == [1, -0.5, 2, 1e-3]


@pytest.mark.parametrize(
    ("parse", "words"),
    [
        (named_plan, ("e05m07", "e5m07", "e05m7", "e3m7", "e5m3", "e5m", "e5m0")),
        (policy, ("window+3", "window+03", "h2o@3", "h2o@032", "tova~0.3", "window+" + "9" * 5000)),
        (check_budget, ("3", "064", "3%", "05%", "1.3%", "3MiB", "9" * 5000, "-1", "9" * 14)),
        (named_format, ("separators-3", "scratch-03", "steps-" + "9" * 5000)),
        (named_format, ("separators-999999999", "separators_end-9999999", "scratch-99999999999")),
        (lambda mask: TrainSettings(task="count_ones", mask=mask), ("window-3", "window-03")),
    ],
    ids=["formats", "policies", "budgets", "remedies", "absurd remedies", "masks"],
)  # fmt: skip
def test_names_with_numbers_are_digits_of_ascii_without_zeros_before(parse, words):
    for word in words:
        with pytest.raises(BadInput) as refusal:
            parse(word.replace("3", ARABIC) if "03" not in word else word)
        assert len(str(refusal.value).splitlines()) == 1


def test_counts_from_which_nothing_comes_are_refused():
    of = {"task": "count_ones", "lengths": (2, 4)}  # items of up to 64 tokens are answered
    for name in ("separators-65", "separators_end-65", "steps-65"):
        with pytest.raises(BadInput, match="64, the longest item"):
            TrainSettings(**of, remedy=name)
        TrainSettings(**of, remedy=name.replace("65", "64"))
    room = TrainSettings(**of).room
    TrainSettings(**of, mask=f"window-{room}")
    with pytest.raises(BadInput, match=f"longest row, {room}"):
        TrainSettings(**of, mask=f"window-{room + 1}")
    with pytest.raises(BadInput, match="separators from 0"):
        PromptFormat(separators=HUGE)


@pytest.fixture
def little(monkeypatch):
    """A machine of one mebibyte."""
    monkeypatch.setattr(memory, "host_memory", lambda: 2**20)
    monkeypatch.setattr(memory, "device_memory", lambda: 0)


MANY = {
    "slots": ("generate", "digits", "--prompt 1 --max-tokens 4 --slots 99999", "99999 --slots"),
    "samples": ("longform", "digits", "--max-tokens 4 --samples 99999", "99999 --samples"),
    "digits": ("perplexity", "digits", "--max-tokens 99999", "99999 tokens"),
    "chunk": ("perplexity", "digits", "--max-tokens 9 --chunk 99999", "--chunk of 99999"),
    "slots of retention": ("retention", "digits", "--max-tokens 9 --slots 99999", "99999 --slots"),
    "slots of bounded": ("bounded", "digits", "--lengths 4 --slots 99999", "99999 --slots"),
    "probes of bounded": ("bounded", "digits", "--lengths 4 --probes 99999", "99999 --probes"),
    "probes": ("influence", "digits", "--probes 99999", "99999 --probes"),
    "passages": ("influence", "digits", "--passages 99999", "99999 --passages"),
    "attention": ("influence", "toy", "--max-tokens 999 --passages 1", "attention over 999"),
    "items": ("recall", "text", "--items 99999", "99999 --items"),
    "weights": ("collapse", "toy", "--positions learned", "the weights of toy"),
    "width": ("train", "", "count_ones --width 9996 --batch 1", "--width 9996"),
    "layers": ("train", "", "count_ones --layers 99999 --batch 1", "--layers 99999"),
    "seeds": ("train", "", "count_ones --seeds 99999", "99999 --seeds"),
    "batch": ("train", "", "count_ones --batch 99999", "--batch 99999"),
    "examples": ("train", "", "count_ones --batch 1 --examples 99999", "99999 --examples"),
    "lengths": ("train", "", "count_ones --batch 1 --lengths 2 9999", "--lengths up to 9999"),
    "steps of a call": (
        "train", "", "count_ones --batch 1 --examples 1 --steps 999999 --chunk 999999", "--chunk"
    ),
    "a cell": ("sweep", "", "--grid width=4,9996 batch=1 examples=1 positions=none", "width 9996"),
}  # fmt: skip


@pytest.mark.parametrize(("verb", "model", "words", "text"), MANY.values(), ids=MANY)
def test_what_memory_cannot_hold_is_refused_by_name(refused, little, verb, model, words, text):
    line = refused(verb, model, words)
    assert text in line
    assert "1 MiB of memory" in line


def test_memory_is_a_bound_that_may_be_attained(monkeypatch):
    monkeypatch.setattr(memory, "host_memory", lambda: 1000)
    monkeypatch.setattr(memory, "device_memory", lambda: 3000)
    memory.check_memory(6000, "it", "use less", parts=2)
    with pytest.raises(BadInput, match=r"it to fit into 5\.859 KiB of memory, got 5\.86 KiB"):
        memory.check_memory(6001, "it", "use less", parts=2)
    assert [memory.size_text(count) for count in (0, 1023, 2**10, 3 * 2**39)] == [
        "0 B", "1023 B", "1 KiB", "1.5 TiB",
    ]  # fmt: skip


def test_this_machine_has_memory():
    assert 2**28 < memory.host_memory() < 2**63
    assert memory.device_memory() >= 0


def test_a_limit_of_a_control_group_counts(monkeypatch):
    files = {"/proc/self/cgroup": ["0::/job/step"], "/sys/fs/cgroup/job/memory.max": ["12345"],
             "/sys/fs/cgroup/job/step/memory.max": ["max"]}  # fmt: skip
    monkeypatch.setattr(memory, "_lines", lambda path: files.get(str(path), []))
    limited = memory.host_memory.__wrapped__  # as at the first question
    assert limited() == 12345
    files["/proc/meminfo"] = ["MemTotal: 1 kB", "SwapTotal: 2 kB"]
    assert limited() == 12345 + 2048


@pytest.mark.parametrize(
    "changed",
    [{}, {"num_layers": 3, "tied": False}, {"positions": Learned(max_length=9)},
     {"mlp": GatedMlp(dim=5), "bias": True}],
    ids=["plain", "untied", "learned", "gated"],
)  # fmt: skip
def test_weights_are_counted_as_they_are(changed):
    config = DecoderConfig(vocab_size=7, model_dim=8, **changed)
    made_ones = jax.tree.leaves(jax.eval_shape(lambda: Decoder(config, key=jax.random.key(0))))
    assert decoder_bytes(config) == 4 * sum(math.prod(leaf.shape) for leaf in made_ones)


def test_cells_of_one_decoder_are_sized_once(monkeypatch):
    sizes, limits, abstract = [], [], weights._abstract
    monkeypatch.setattr(weights, "_abstract", lambda config: sizes.append(0) or abstract(config))
    monkeypatch.setattr(memory, "_lines", lambda path: limits.append(path) or [])
    for cached in (weights._shapes, train_memory._bytes, memory.host_memory):
        cached.cache_clear()
    sweep = SweepSettings(preset="quick", grid=("seeds=1,2,3", "steps=1,2", "batch=1,2"))
    _check_sizes(sweep)
    memory.host_memory.cache_clear()
    assert len(sweep.cells) == 48
    assert (len(sizes), limits) == (4, ["/proc/meminfo", "/proc/self/cgroup"])


def test_a_right_training_is_let_through():
    mesh_of(TrainSettings(task="count_ones", preset="full"))


def test_slots_that_just_fit_are_let_through(monkeypatch):
    config, of = DecoderConfig(vocab_size=7, model_dim=8), {"length": 9, "dtype": "float32"}
    one = 2 * (8 + 8) * 4 + 2 * (4 + 4)  # keys and values, positions and attention, two layers
    monkeypatch.setattr(memory, "host_memory", lambda: 5 * one)
    monkeypatch.setattr(memory, "device_memory", lambda: 0)
    assert resolve_slots("4", config, POLICIES["tova"], **of) == 4  # and a place for the newest
    with pytest.raises(BadInput, match="5 --slots to fit"):
        resolve_slots("5", config, POLICIES["tova"], **of)
    with pytest.raises(BadInput, match="full state of 9 tokens"):
        resolve_slots("1", config, POLICIES["full"], **of)


def test_stretches_are_counted_without_a_look_at_each_position():
    for length in (1, 63, 64, 65, 128, 129, 2048, 2049, 4096, 4097, 8192, 8193, 12289, 20000):
        assert stretch_count(length) == len({stretch_start(at) for at in range(length)}), length


@pytest.mark.parametrize(
    ("words", "now"),
    [
        (("train", "copy_at", "--heard", "2"), "--influence-examples, got --heard"),
        (("generate", "toy", "--beside=nothing"), "--baseline, got --beside"),
        (("generate", "toy", "--spacing", "true"), "--position-ids, got --spacing"),
        (("perplexity", "toy", "--spacing", "compressed"), "--position-ids, got --spacing"),
        (("sweep", "--grid", "heard=2"), "influence_examples in --grid, got heard"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_flag_of_before_is_refused_with_its_name_of_now(words, now):
    with pytest.raises(
        BadInput, match=rf"^Expected {now}, its name before version 0\.2\.0: write "
    ):
        parsed(words)


def test_a_flag_of_another_verb_is_no_flag_of_before():
    with pytest.raises(BadInput, match="--spacing") as refused:
        parsed(("collapse", "toy", "--spacing", "true"))
    assert "0.2.0" not in str(refused.value)
