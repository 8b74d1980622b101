"""A setting that names something takes no other word, whoever gives it."""

import dataclasses
import typing
from types import NoneType, UnionType

import pytest
from made_settings import MADE, made

from glassesjax.errors import BadInput
from glassesjax.model.counter import counter_line, largest_counter
from glassesjax.model.pretrained import counter_model
from glassesjax.precision import BF16
from glassesjax.registry import studies
from glassesjax.studies.perplexity.settings import PerplexitySettings
from glassesjax.theory.counting import failing_length, first_wrong_readout, stored_total


def parts(hint):
    """A type and all that it is made of."""
    yield hint
    if typing.get_origin(hint) is not typing.Literal:
        for part in typing.get_args(hint):
            yield from parts(part)


def named(kind):
    """Fields that name something: written apart from the code that looks for them."""
    hints = typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):
        if any(typing.get_origin(part) is typing.Literal for part in parts(hints[field.name])):
            yield field.name, hints[field.name]


FIELDS = [(kind, *field) for kind in MADE for field in named(kind)]


def test_no_settings_class_is_left_out():
    for study in studies():
        assert study.settings in MADE
        assert study.options in MADE or not any(named(study.options))
    assert {(k.__name__, name) for k, name, _ in FIELDS} >= {
        ("BoundedSettings", "kinds"), ("InfluenceSettings", "attention"),
        ("PerplexitySettings", "windows"), ("PerplexitySettings", "span"),
        ("GenerateSettings", "baseline"), ("TrainSettings", "weight_decay_on"),
        ("SweepOptions", "cluster"), ("VerifySettings", "suite"), ("RecallSettings", "mode"),
    }  # fmt: skip


@pytest.mark.parametrize(("kind", "name", "hint"), FIELDS)
def test_a_word_that_is_none_is_refused(kind, name, hint):
    fields = MADE[kind]
    valid = getattr(made(kind, **fields), name)
    wrong = ["nonsense", "", True, 1.5, ["nonsense"]]
    if typing.get_origin(hint) is tuple:
        wrong = [(one,) for one in wrong] + ["nonsense", typing.get_args(hint)[0]]
        wrong += [(*valid, "nonsense")]
    elif typing.get_origin(hint) not in (typing.Union, UnionType):
        wrong += [None, 3]
    for value in wrong:
        with pytest.raises(BadInput, match=rf"^Expected {name} .*, got "):
            made(kind, **fields | {name: value})


def test_a_number_or_nothing_stands_beside_a_name_where_the_field_says_so():
    for windows in (None, 7, "context"):
        assert PerplexitySettings(model="toy", windows=windows).windows == windows
    hint = typing.get_type_hints(PerplexitySettings)["windows"]
    assert {*typing.get_args(hint)} >= {int, NoneType}


@pytest.mark.parametrize(
    "call",
    [
        lambda reading: counter_model(3, reading=reading),
        lambda reading: counter_line(3, reading),
        lambda reading: largest_counter(reading),
        lambda reading: failing_length(BF16, reading),
        lambda reading: first_wrong_readout(BF16, reading, 3),
        lambda reading: stored_total(3, BF16, reading),
    ],
)
def test_a_reading_that_is_none_is_refused(call):
    call("share")
    # With the checks of types on, they may speak first; none is a bare KeyError.
    with pytest.raises(
        Exception, match=r"reading.*nonsense|one of share, one_plus_share, got 'non"
    ):
        call("nonsense")
