"""A state on disk comes back bit by bit, or not at all."""

import dataclasses
import errno
import json
import re
import zipfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from renamed_classes import renamed

from glassesjax.cache import advance, empty_state, policy, unroll
from glassesjax.cache.generate import Generator, generate
from glassesjax.cache.sampling import Sampling
from glassesjax.cache.saved import grown, load_state, save_state
from glassesjax.errors import BadInput, DiskFull
from glassesjax.model.config import Alibi, DecoderConfig, Rotary
from glassesjax.model.decoder import Decoder
from glassesjax.model.stored_config import KINDS

CONFIG = DecoderConfig(vocab_size=17, num_layers=2, num_heads=2, model_dim=8, positions=Rotary())
DIGEST = "ef47578a5b5e997b"  # of these settings, in files that say them by a digest
BEFORE = Path(__file__).parents[1] / "data" / "saved_state.npz"
TOVA, INFO = policy("tova"), {"seed": 3, "weights": "made"}


@pytest.fixture(scope="module")
def model():
    return unroll(Decoder(CONFIG, key=jax.random.key(0), dtype=jnp.float64))


@pytest.fixture(scope="module")
def state(model):
    empty = empty_state(CONFIG, TOVA, 3, jnp.float64)
    return advance(model, empty, jnp.asarray([1, 2, 3, 4, 5]), TOVA)[0]


@pytest.fixture
def file(tmp_path, state):
    path = tmp_path / "state.npz"
    arrays = {"more": np.arange(3)}
    save_state(path, state, TOVA, config=CONFIG, info=INFO, arrays=arrays)
    return path


def load(path, rule=TOVA, config=CONFIG, dtype=jnp.float64, **same):
    return load_state(path, rule, config=config, dtype=dtype, same=same)


def assert_same(found, wanted):
    assert jax.tree.structure(found) == jax.tree.structure(wanted)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        assert one.dtype == other.dtype
        assert np.asarray(one).tobytes() == np.asarray(other).tobytes()


def test_it_comes_back_as_it_was(file, state):
    saved = load(file, seed=3)
    assert_same(saved.state, state)
    assert saved.info == INFO
    np.testing.assert_array_equal(saved.arrays["more"], [0, 1, 2])
    assert [path.name for path in file.parent.iterdir()] == [file.name]  # no part is left


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
def test_so_does_a_batch_of_any_float_type(tmp_path, key, dtype):
    head = policy("h2o")
    empty = empty_state(CONFIG, head, (4, 6), dtype)

    def fill(leaf):
        drawn = jax.random.normal(key, (3, *leaf.shape), jnp.float32)
        return (100 * drawn).astype(leaf.dtype)

    batch, path = jax.tree.map(fill, empty), tmp_path / "batch"
    save_state(path, batch, head, config=CONFIG)
    assert_same(load(path, head, dtype=dtype).state, batch)


def old(path, policy_name):
    """The file as a package without schemas wrote it."""
    with np.load(path) as file:
        arrays = dict(file)
    header = json.loads(arrays["header"].tobytes())
    assert header.pop("schema") == 1
    assert header.pop("model_config")["positions"]["switch"] == "Rotary"
    header |= {"policy": policy_name, "model_settings": DIGEST}
    np.savez(path, **{**arrays, "header": np.frombuffer(json.dumps(header).encode(), np.uint8)})
    return path.with_name(f"{path.name}.npz") if path.suffix != ".npz" else path


@pytest.mark.parametrize(
    ("name", "before"),
    [
        ("h2o-layer", "h2o"),
        ("h2o_mean-layer+1", "h2o_mean+1"),
        ("h2o", "h2o-head"),
        ("tova", "tova"),
    ],
)
def test_a_state_without_a_schema_is_read_under_what_its_policy_meant(tmp_path, name, before):
    rule, path = policy(name), tmp_path / "state.npz"
    wanted = empty_state(CONFIG, rule, 3, jnp.float64)
    save_state(path, wanted, rule, config=CONFIG)
    path = old(path, before)
    assert_same(load(path, rule).state, wanted)
    if policy(before) != rule:
        with pytest.raises(BadInput, match=f"got {re.escape(name)}"):
            load(path, policy(before))  # what the name means now


def test_a_file_with_a_digest_of_the_settings_is_read():
    """It is of before files had the settings themselves, and no matter what classes are called."""
    with renamed(DecoderConfig, *KINDS.values()):
        saved = load(BEFORE, seed=3)
    positions = [cache.position.tolist() for cache in saved.state.layers]
    assert positions == [[[-1, 1, 2, 3]], [[4, -1, 2, 3]]]
    assert (saved.state.seen.item(), saved.info) == (5, INFO)
    with pytest.raises(BadInput, match=f"model settings .*, got {DIGEST}"):
        load(BEFORE, config=dataclasses.replace(CONFIG, tied=False))


def test_a_state_of_a_newer_schema_is_refused(file):
    with np.load(file) as found:
        arrays = dict(found)
    header = json.loads(arrays["header"].tobytes()) | {"schema": 2}
    np.savez(file, **{**arrays, "header": np.frombuffer(json.dumps(header).encode(), np.uint8)})
    with pytest.raises(BadInput, match=r"Expected schema 1 or none in .*, got 2"):
        load(file)


def test_saving_again_replaces_the_file(file, state):
    save_state(file, state, TOVA, config=CONFIG, info={"seed": 4})
    assert load(file).info == {"seed": 4}


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"rule": policy("h2o")}, "policy h2o, got tova"),
        ({"rule": policy("tova+1")}, r"policy tova\+1"),
        ({"dtype": jnp.float32}, "dtype float32, got float64"),
        ({"config": dataclasses.replace(CONFIG, tied=False)}, "model tied False, got True"),
        (
            {"config": dataclasses.replace(CONFIG, positions=Alibi())},
            "model positions .*'Alibi'}, got {'attention_factor'",
        ),
        ({"seed": 4}, "seed 4, got 3"),
        ({"top_k": 4}, "top k 4, got none"),
    ],
)
def test_what_belongs_to_another_run_is_refused(file, change, text):
    with pytest.raises(BadInput, match=text):
        load(file, **change)


def test_a_cut_file_is_refused_wherever_it_was_cut(file):
    content = file.read_bytes()
    for length in range(0, len(content), 97):
        file.write_bytes(content[:length])
        with pytest.raises(BadInput, match="truncated or foreign"):
            load(file)


def test_a_changed_byte_is_noticed_or_changes_nothing(file, state):
    content = file.read_bytes()
    for at in range(30, len(content), 211):
        changed = bytes([*content[:at], content[at] ^ 0x55, *content[at + 1 :]])
        file.write_bytes(changed)
        try:
            found = load(file)
        except BadInput:
            continue
        assert_same(found.state, state)  # a date or another field that means nothing


@pytest.mark.parametrize("kind", ["text", "array", "zip", "pickle", "other", "shape", "bytes"])
def test_a_foreign_file_is_refused(file, kind):
    match kind:
        case "text":
            file.write_text("{}")
        case "array":
            with file.open("wb") as out:
                np.save(out, np.zeros(3))
        case "zip":
            with zipfile.ZipFile(file, "w") as out:
                out.writestr("a.txt", "a")
        case "pickle":
            np.savez(file, header=np.asarray([{}], object))
        case "bytes":
            with zipfile.ZipFile(file, "a") as out:
                out.writestr("a.txt", "a")  # NumPy has no array for it
        case "other":
            np.savez(file, header=np.frombuffer(b'{"kind": "other"}', np.uint8))
        case "shape":
            with np.load(file) as old:
                arrays = dict(old)
            np.savez(file, **{**arrays, "layers.1.key": arrays["layers.1.key"][:, :2]})
    with pytest.raises(BadInput, match="truncated or foreign"):
        load(file)


def test_a_file_that_is_not_there_and_a_folder_that_is_not(tmp_path, state):
    with pytest.raises(BadInput, match="cannot be read"):
        load(tmp_path / "none")
    with pytest.raises(BadInput, match=r"No such file or directory\): choose"):
        save_state(tmp_path / "none" / "state", state, TOVA, config=CONFIG)


@pytest.mark.parametrize("name", ["header", "seen", "layers.0.key"])
def test_a_member_that_is_no_array_is_refused(file, name):
    with zipfile.ZipFile(file) as old:
        members = {member: old.read(member) for member in old.namelist()}
    members.pop(f"{name}.npy")
    members[name] = b"no array"
    with zipfile.ZipFile(file, "w") as out:
        for member, content in members.items():
            out.writestr(member, content)
    with pytest.raises(BadInput, match=f"{name} is not an array"):
        load(file)


def test_what_cannot_be_saved_leaves_nothing_behind(tmp_path, state, monkeypatch):
    path, no_array = tmp_path / "state", {"more": np.asarray([{}], object)}
    with pytest.raises(ValueError, match="Object arrays"):
        save_state(path, state, TOVA, config=CONFIG, arrays=no_array)

    def full(number):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(DiskFull, match="No space left on device: free some"):
        save_state(path, state, TOVA, config=CONFIG)
    assert list(tmp_path.iterdir()) == []


# A full state is saved, grown and gone on with; a bounded one is not grown.
@pytest.mark.parametrize("name", [pytest.param("tova", marks=pytest.mark.slow), "full"])
def test_a_saved_text_goes_on_as_if_there_had_been_no_break(tmp_path, model, name):
    rule, path, prompts = policy(name), tmp_path / "state", [(1, 2, 3, 4, 5), (6,)]
    sampling = Sampling(temperature=2.0)
    slots = (lambda length: length) if name == "full" else lambda length: 3
    write = lambda count: list(
        generate(
            model,
            prompts,
            rule,
            slots=slots(5 + count),
            max_tokens=count,
            sampling=sampling,
            seed=5,
        )
    )
    whole, half = write(7), write(3)[-1].batch
    save_state(path, half.state, rule, config=CONFIG)
    state = load(path, rule).state
    batch = half._replace(state=grown(state, 12) if name == "full" else state)
    rest = list(Generator(model=model, policy=rule, sampling=sampling).steps(batch, 4))
    tokens = lambda steps: [step.token.tolist() for step in steps]
    assert tokens(rest) == tokens(whole)[3:]


def with_said(path, **changed):
    """The file with other fields of its header, or another text in its place."""
    with np.load(path) as found:
        arrays = dict(found)
    text = changed.get("text") or json.dumps({**json.loads(arrays["header"].tobytes()), **changed})
    np.savez(path, **{**arrays, "header": np.frombuffer(text.encode(), np.uint8)})


NESTED = "[" * 5000 + "]" * 5000
SAID = {
    "nested lists": {"text": NESTED},
    "nested slots": {"text": '{"kind": "glassesjax state 1", "slots": ' + NESTED + "}"},
    "a list": {"text": "[]"},
    "null": {"text": "null"},
    "slots of null": {"slots": None},
    "slots of text": {"slots": "33"},
    "slots of truth values": {"slots": [True, True]},
    "slots of fractions": {"slots": [3.0, 3.0]},
    "no slots": {"slots": []},
    "slots of too many layers": {"slots": [3] * 10**5},
    "negative slots": {"slots": [-3, -3]},
    "slots of nothing": {"slots": [0, 0]},
    "10^9 slots": {"slots": [10**9, 10**9]},
    "10^30 slots": {"slots": [10**30, 10**30]},
    "info of null": {"info": None},
    "info of a list": {"info": []},
    "a policy of lists": {"policy": [["\x1b[2J"]]},
    "a policy of control characters": {"policy": "\x1b[2J\n"},
    "a type of null": {"dtype": None},
    "a schema of text": {"schema": "\x1b[2J"},
    "a schema of lists": {"schema": [1]},
    "NaN for the decay": {"decay": float("nan")},
    "another kind": {"kind": {}},
}


@pytest.mark.parametrize("kind", SAID)
def test_a_header_that_is_damaged_is_refused_in_one_line(file, kind):
    with_said(file, **SAID[kind])
    with pytest.raises(BadInput) as error:
        load(file)
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 400 + len(str(file))


def test_packed_arrays_are_refused_before_they_are_unpacked(file):
    with np.load(file) as found:
        arrays = dict(found)
    np.savez_compressed(file, **arrays, more=np.zeros(10**7))
    with pytest.raises(BadInput, match="compressed arrays"):
        load(file)
