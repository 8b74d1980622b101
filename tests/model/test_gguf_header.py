"""The header of a GGUF file: as the ``gguf`` package reads it, or refused before it is used."""

import os
import struct
import time

import numpy as np
import pytest
from model.made_gguf import Entry, Raw, array, header, padded, string, table_of

from glassesjax.errors import BadInput
from glassesjax.model.gguf_header import map_file, read_header

gguf = pytest.importorskip("gguf")
SIZES = gguf.GGML_QUANT_SIZES
TENSORS = {"x": np.arange(12, dtype=np.float32).reshape(3, 4), "y": np.ones(5, np.float32)}
TABLE, DATA = table_of(TENSORS)


def read(content):
    return read_header(content, "made.gguf", SIZES)


def whole(pairs, table=TABLE, data=DATA, **options):
    return padded(header(pairs, table, **options)) + data


def test_the_values_are_those_of_the_gguf_package(tmp_path):
    path, n = tmp_path / "many.gguf", 30_000
    writer = gguf.GGUFWriter(path, "llama")
    for kind in ("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64"):
        getattr(writer, f"add_{kind}")(f"my.{kind}", 7 if kind[0] == "u" else -7)
    writer.add_float32("my.float32", 0.1)
    writer.add_float64("my.float64", 0.1)
    writer.add_bool("my.bool", True)
    writer.add_string("my.string", "naïve ☃\n")
    writer.add_array("my.tokens", [f"tok{i}é" for i in range(n)])
    writer.add_array("my.scores", [-0.5 * i for i in range(n)])
    writer.add_array("my.types", [i % 5 - 2 for i in range(n)])
    writer.add_array("my.bools", [True, False, True])
    arrays = {
        "x": np.arange(12, dtype=np.float32).reshape(3, 4),
        "h": np.ones((2, 2, 2), np.float16),
        "q": gguf.quants.quantize(np.ones((2, 64), np.float32), gguf.GGMLQuantizationType.Q8_0),
    }
    for name, weights in arrays.items():
        kind = gguf.GGMLQuantizationType.Q8_0 if name == "q" else None
        writer.add_tensor(name, weights, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()

    ours, theirs = read_header(map_file(path), "many", SIZES), gguf.GGUFReader(path)
    plain = lambda given: given.tolist() if isinstance(given, np.ndarray) else given
    contents = {key: field.contents() for key, field in theirs.fields.items() if "GGUF." not in key}
    assert {key: plain(given) for key, given in ours.metadata.items()} == contents
    assert [type(plain(given)) for given in ours.metadata.values()] == [
        type(given) for given in contents.values()
    ]
    assert list(ours.tensors) == [tensor.name for tensor in theirs.tensors]
    for tensor, entry in zip(theirs.tensors, ours.tensors.values(), strict=True):
        assert (entry.kind, entry.offset) == (tensor.tensor_type, tensor.data_offset)
        assert entry.shape == tuple(tensor.shape.tolist()[::-1])
        assert np.prod(entry.shape[:-1]) * entry.row_bytes == tensor.n_bytes


@pytest.mark.parametrize("version", [2, 3])
def test_both_versions_are_read(version):
    found = read(whole({"a": 1}, version=version))
    assert (found.version, found.metadata) == (version, {"a": 1})
    assert found.tensors["x"].shape == (3, 4)


@pytest.mark.parametrize("alignment", [32, 64])
def test_a_file_ends_behind_its_last_tensor(alignment):
    arrays = {"x": np.ones(4, np.float32), "y": np.ones(3, np.float32)}
    table, data = table_of(arrays, alignment)
    content = padded(header({"general.alignment": alignment}, table), alignment) + data
    pad = alignment - 12
    for end in (content, content[:-pad]):  # some writers leave the last padding out
        assert read(end).tensors.keys() == {"x", "y"}
    # Bytes that were added or lost move all that is behind them.
    for end in (content + b"x", content[:-1], content[: 1 - pad], content + bytes(alignment)):
        with pytest.raises(BadInput, match="where its last tensor ends at byte"):
            read(end)


def test_a_kind_of_fewer_bytes_is_refused():
    # Six numbers of float32 and six of float16 end before the same aligned byte.
    arrays = {"x": np.arange(6, dtype=np.float32), "y": np.ones(4, np.float32)}
    table, data = table_of(arrays)
    kinds = gguf.GGMLQuantizationType
    narrow = [table[0]._replace(kind=kinds.F16), table[1]]
    read(whole({}, table, data))
    with pytest.raises(BadInput, match="the tensor 'x', behind which there are other bytes"):
        read(whole({}, narrow, data))
    last = [table[0], table[1]._replace(kind=kinds.F16)]
    with pytest.raises(BadInput, match="the tensor 'y', behind which there are other bytes"):
        read(whole({}, last, data))
    # Where the rest is zeros, another model would open: nothing tells.
    zeros = b"\0" * 24 + data[24:]
    assert read(whole({}, narrow, zeros)).tensors["x"].kind == kinds.F16


def test_another_alignment_is_used():
    for alignment in (64, 24):  # any multiple of 8, as the specification has it
        table, data = table_of(TENSORS, alignment)
        found = read(padded(header({"general.alignment": alignment}, table), alignment) + data)
        assert all(entry.offset % alignment == 0 for entry in found.tensors.values())
    # Laid out by 32, the second tensor is not where an alignment of 64 puts it.
    odd = {"x": np.ones(24, np.float32), "y": np.ones(4, np.float32)}  # 96 bytes: 3 times 32
    with pytest.raises(BadInput, match="'y' at byte 96 of the weights where 128 follows"):
        read(whole({"general.alignment": 64}, *table_of(odd)) + bytes(64))


@pytest.mark.parametrize("alignment", [0, 4, 12, 33, -32, True, 32.0, "32", Raw(10, bytes(8))])
def test_an_alignment_that_is_none_is_refused(alignment):
    with pytest.raises(BadInput, match=r"positive multiple of 8 as general\.alignment"):
        read(whole({"general.alignment": alignment}))


def test_a_big_endian_file_is_refused_by_name():
    with pytest.raises(BadInput, match=r"little-endian GGUF file, got made\.gguf with the most"):
        read(b"GGUF" + struct.pack(">IQQ", 3, 0, 0))


@pytest.mark.parametrize("version", [0, 1, 4, 2**31 + 1])
def test_another_version_is_refused_by_name(version):
    with pytest.raises(BadInput, match=f"version 2 or 3, got version {version}"):
        read(whole({}, version=version))


HUGE = [2**26, 2**31, 2**32, 2**40, 2**60, 2**63, 2**64 - 1]


@pytest.mark.parametrize("count", HUGE)
@pytest.mark.parametrize("kind", range(13))
def test_a_huge_array_is_refused_before_it_is_allocated(kind, count):
    begin = time.process_time()
    with pytest.raises(BadInput, match="whole GGUF file, got made"):
        read(whole({"long": array(kind, count, bytes(4000))}))
    assert time.process_time() - begin < 1  # the reader before this one went on for ever


@pytest.mark.parametrize("count", HUGE)
def test_huge_counts_and_lengths_are_refused(count):
    for counts in ((count, 1), (2, count)):
        with pytest.raises(BadInput, match=f"names {count} "):
            read(whole({"a": 1}, counts=counts))
    long = struct.pack("<Q", count) + b"abc"
    with pytest.raises(BadInput, match=f"bytes for {count} of the value of 'a'"):
        read(whole({"a": Raw(8, long)}))
    with pytest.raises(BadInput, match=f"bytes for {count} of the key of pair 0"):
        read(b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + long + bytes(99))


DAMAGED_PAIRS = [
    ([("a", 1), ("a", 2)], "has the key 'a' twice"),
    ({"a": Raw(13, b"")}, "unknown type 13 for the value of 'a'"),
    ({"a": Raw(2**32 - 1, b"")}, "unknown type 4294967295"),
    ({"a": array(13, 0)}, "unknown type 13 in the array"),
    ({"a": array(9, 1, struct.pack("<IQ", 4, 0))}, "nests arrays in the value of 'a'"),
    ({"a": Raw(8, string(b"\xff\xfe"))}, "no UTF-8 in the value of 'a'"),
    ({"a": array(8, 2, string("ok") + string(b"\xc3"))}, "no UTF-8 in the value of 'a'"),
    ([(b"\xff", 1)], "no UTF-8 in the key of pair 0"),
    ({"a": Raw(7, b"\x02")}, "neither 0 nor 1"),
    ({"a": array(7, 3, b"\x00\x01\x02")}, "neither 0 nor 1"),
]


@pytest.mark.parametrize(("pairs", "text"), DAMAGED_PAIRS, ids=str)
def test_damaged_pairs_are_refused_in_one_line(pairs, text):
    with pytest.raises(BadInput, match=text) as error:
        read(whole(pairs))
    assert "\n" not in str(error.value)


X, Y = TABLE
DAMAGED_TABLES = [
    ([X, Y._replace(name="x")], "has the tensor 'x' twice"),
    ([X, Y._replace(offset=0)], "'y' at byte 0 of the weights where 64 follows"),  # overlaps
    ([X, Y._replace(offset=60)], "'y' at byte 60"),  # misaligned, and overlaps
    ([X, Y._replace(offset=96)], "'y' at byte 96"),  # a gap
    ([X, Y._replace(offset=2**64 - 32)], "'y' at byte 18446744073709551584"),  # into the header
    ([X, Y._replace(offset=2**40)], "'y' at byte 1099511627776"),  # beyond the file
    ([Y._replace(offset=64), X], "'y' at byte 64 of the weights where 0 follows"),
    ([X._replace(dims=(4, 2**61)), Y], "'x' end at byte"),  # 4 times 2^61 times 4 is 0 in 64 bits
    ([X._replace(dims=(2**32, 2**32)), Y], "'x' end at byte"),
    ([X._replace(dims=(2**63,) * 4), Y], "'x' end at byte"),
    ([X._replace(dims=(4, 0)), Y], "'x' with no weights"),
    ([X._replace(dims=(0, 4)), Y], "'x' with no weights"),
    ([X._replace(dims=(1,) * 5), Y], "5 dimensions in the entry of tensor 'x'"),
    ([X._replace(kind=999), Y], "unknown type 999 in the entry of tensor 'x'"),
    ([X._replace(kind=4), Y], "unknown type 4 "),  # one that was removed
    ([X._replace(kind=8), Y], "'x' with rows of 4 weights in blocks of 32"),
    ([X, Y._replace(dims=(99,))], "'y' end at byte"),
]


@pytest.mark.parametrize(("table", "text"), DAMAGED_TABLES, ids=str)
def test_damaged_tables_of_tensors_are_refused_in_one_line(table, text):
    with pytest.raises(BadInput, match=text) as error:
        read(whole({}, table))
    assert "\n" not in str(error.value)


def test_rank_is_checked_before_dimensions_are_read():
    begin = header({}, [Entry("x", (), 0, 0)])[:-16] + struct.pack("<I", 2**32 - 1) + bytes(64)
    with pytest.raises(BadInput, match="4294967295 dimensions"):
        read(begin)


def test_every_cut_is_refused():
    content = whole({"a": "text", "b": ["x", "yz"], "c": [1, 2], "d": True})
    for kept in range(len(content) - 12):  # the last tensor's 20 bytes end 12 before the file does
        with pytest.raises(BadInput, match="whole GGUF file"):
            read(content[:kept])
    assert read(content[:-12]).metadata["b"] == ["x", "yz"]


def test_a_damaged_header_is_read_or_refused_in_one_line_and_at_once():
    pairs = {"a": "text", "b": ["x", "yz"], "c": [1, 2], "d": True, "e": 0.5}
    content, rng = whole(pairs), np.random.default_rng(0)
    begin, refusals = time.process_time(), []
    for _ in range(2000):
        damaged = bytearray(content)
        for at in rng.integers(0, len(content) - len(DATA), rng.integers(1, 4)):
            damaged[at] = rng.integers(256)
        try:
            read(bytes(damaged))
        except BadInput as error:
            refusals.append(str(error))
    assert len(refusals) > 1000
    assert not any("\n" in refusal for refusal in refusals)
    assert time.process_time() - begin < 20  # half a second where nothing hangs


def test_what_is_no_file_is_refused(tmp_path):
    for name, content in (("empty", b""), ("short", b"GG"), ("other", b"FUGG....")):
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(BadInput, match="starts with"):
            map_file(path)
    with pytest.raises(BadInput, match="no regular file"):
        map_file(tmp_path)
    with pytest.raises(BadInput, match="cannot be read"):
        map_file(tmp_path / "none")


def sparse(path, content, size=2**36):
    """A file that begins so and goes on with zeros that take no room on disk."""
    path.write_bytes(content)
    os.truncate(path, size)
    return map_file(path)


def key_of(kind, count):
    """A header of one array, which says that it has so many things, up to where they begin."""
    return header({"a": array(kind, count)}, [])


SPARSE = {
    "2^26 booleans": (key_of(7, 2**26), "names 67108864 booleans"),
    "2^35 booleans": (key_of(7, 2**35), "names 34359738368 booleans"),
    "2^35 bytes": (key_of(0, 2**35), "names 34359738368"),
    "2^32 numbers": (key_of(12, 2**32), "names 4294967296"),
    "2^21 empty strings": (
        key_of(8, 2**21),
        "names 2097152 strings in the value of 'a', more than",
    ),
    "2^32 empty strings": (key_of(8, 2**32), "names 4294967296 strings"),
    "a string of 2^35 bytes": (
        header({"a": Raw(8, struct.pack("<Q", 2**35))}, []),
        "bytes for 34359738368 of the value of 'a'",
    ),
    "2^20 pairs": (header({}, [], counts=(0, 2**20)), "names 1048576 key-value pairs, more than"),
    "2^20 tensors": (header({}, [], counts=(2**20, 0)), "names 1048576 tensors, more than"),
    "2^32 tensors": (header({}, [], counts=(2**32, 0)), "names 4294967296 tensors"),
}


@pytest.mark.parametrize("kind", SPARSE)
def test_what_fits_into_a_sparse_file_is_refused_at_once(tmp_path, kind):
    content, text = SPARSE[kind]
    data, begin = sparse(tmp_path / "made.gguf", content), time.process_time()
    with pytest.raises(BadInput, match=text):
        read(data)
    assert time.process_time() - begin < 1


def test_strings_are_counted_over_all_arrays():
    half = array(8, 2**19 + 1, bytes(8 * (2**19 + 1)))
    assert len(read(whole({"a": half})).metadata["a"]) == 2**19 + 1
    with pytest.raises(
        BadInput, match=r"names 524289 strings in the value of 'b', more than 524287"
    ):
        read(whole({"a": half, "b": half}))


def test_names_are_shown_escaped_and_short():
    bad = "\x1b[2J\n" + "x" * 9999
    for content in (
        whole([(bad, 1), (bad, 2)]),
        whole({bad: Raw(13, b"")}),
        whole({}, [TABLE[0]._replace(name=bad, offset=8)]),
        whole({"general.alignment": bad}),
    ):
        with pytest.raises(BadInput, match=r"\\x1b\[2J") as error:
            read(content)
        assert str(error.value).isprintable()
        assert len(str(error.value)) < 300
