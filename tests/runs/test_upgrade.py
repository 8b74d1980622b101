"""What older files mean in today's words, by hand."""

import json

import pytest

from glassesjax.cache import policy
from glassesjax.errors import BadInput
from glassesjax.files import to_json
from glassesjax.registry import load
from glassesjax.runs.folder import RunFolder
from glassesjax.runs.rows import read_rows
from glassesjax.runs.upgrade import upgraded_rows, upgraded_settings
from glassesjax.schema import check_schema, renamed_policy
from glassesjax.studies.bounded.measure import BoundedSettings
from glassesjax.studies.collapse.measure import CollapseSettings
from glassesjax.studies.generate.settings import GenerateSettings
from glassesjax.studies.longform.measure import LongformSettings
from glassesjax.studies.perplexity.settings import PerplexitySettings
from glassesjax.studies.retention.measure import RetentionSettings
from glassesjax.studies.train.settings import TrainSettings
from glassesjax.surveys.sweep.settings import SweepSettings

pytestmark = pytest.mark.usefixtures("undrawn")


@pytest.mark.parametrize(
    ("before", "now"),
    [
        ("h2o", "h2o-layer"),
        ("h2o-head", "h2o"),
        ("h2o_mean", "h2o_mean-layer"),
        ("h2o_mean-head+1", "h2o_mean+1"),
        ("h2o+4@2~0.5", "h2o-layer+4@2~0.5"),
        ("h2o@0~0.5", "h2o-layer@0~0.5"),
        ("tova", "tova"),
        ("tova-head", "tova-head"),
        ("window+4", "window+4"),
        ("short", "short"),
        ("h2o_other", "h2o_other"),
    ],
)
def test_a_policys_name_of_then_is_what_it_did(before, now):
    assert renamed_policy(before) == now
    if before.startswith("h2o") and before != "h2o_other":
        assert policy(now).head_wise == ("-head" in before)
        assert str(policy(now)) == now


@pytest.mark.parametrize(
    ("before", "now"),
    [
        ({"study": "bounded", "model": "smollm2", "text": None, "prompt": ""}, "kjv"),
        ({"study": "retention", "model": "a/b.gguf", "text": None}, "kjv"),
        ({"study": "retention", "model": "smollm2", "text": "emma"}, "emma"),
        ({"study": "bounded", "model": "smollm2", "text": None, "prompt": "In"}, None),
        ({"study": "perplexity", "model": "toy", "text": None}, None),  # digits then and now
        ({"study": "other", "model": "smollm2", "text": None}, None),
    ],
)
def test_no_text_was_the_bible_for_models_that_read_text(before, now):
    added = {"devices": 1} if before["study"] != "other" else {}
    added |= {"prompt_tokens": []} if before["study"] == "bounded" else {}
    assert upgraded_settings(before) == {**before, **added, "schema": 1, "text": now}


def test_what_has_a_schema_is_left_alone():
    settings = {"schema": 1, "policies": ["h2o"], "policy": "h2o"}
    assert upgraded_settings(settings) == settings
    del settings["schema"]
    assert upgraded_settings(settings) == {
        "schema": 1, "policies": ["h2o-layer"], "policy": "h2o-layer",
    }  # fmt: skip
    rows = [{"policy": "h2o", "slots": 3}, {"claim": "a"}]
    assert list(upgraded_rows(rows)) == [{"policy": "h2o-layer", "slots": 3}, {"claim": "a"}]


def test_settings_have_their_names_of_now_in_every_schema():
    plain = {
        "study": "generate",
        "prompt_tokens": [],
        "devices": 1,
        "baseline": "none",
        "position_ids": "original",
        "seed": 0,
    }
    before = {"study": "generate", "beside": "nothing", "spacing": "true", "seed": 0}
    for schema in (1, 2):
        assert upgraded_settings({"schema": schema, **before}) == {"schema": schema, **plain}
    assert upgraded_settings(before) == {"schema": 1, **plain}
    grid = {"study": "sweep", "schema": 2, "grid": ["task=copy_at", "heard=1,2"]}
    old = {**grid, "axes": {"task": ["copy_at"], "heard": [1, 2]}}
    assert upgraded_settings(old) == {
        **grid,
        "grid": ["task=copy_at", "influence_examples=1,2"],
        "axes": {"task": ["copy_at"], "influence_examples": [1, 2]},
    }


@pytest.mark.parametrize("schema", [0, 2, "1", None, True, [1]])
def test_an_unknown_schema_is_refused(schema):
    check_schema({"schema": 1}, "x")
    check_schema({}, "x")
    with pytest.raises(BadInput, match="Expected schema 1 or none in x, got "):
        check_schema({"schema": schema}, "x")


# What settings.json said by default before there was a schema, for toys unless they read text only.
MODEL = {"model": "toy"}
PASSES = {"format": "f32", "positions": "none", "seed": 0}
BEFORE = {
    "bounded": MODEL | {
        "policies": ["full", "window", "window+4", "h2o", "tova"], "slots": ["8"],
        "kinds": ["collapse", "influence"], "families": ["ones_bos", "ones_zero"],
        "lengths": [1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128], "prompt": "", "text": None,
        "max_tokens": 64, "method": "estimated", "probes": 16, "format": "f64", "positions": [],
        "seed": 0,
    },
    "collapse": MODEL | {
        "families": [
            "ones", "ones_zero", "ones_bos", "doubled_digits", "alternating",
            "separators_in_phase", "separators_confounded",
        ],
        "lengths": [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512],
        "formats": ["f32", "bf16", "f16"], "positions": [], "seed": 0,
    },
    "generate": MODEL | {
        "prompt": ["1"], "policy": "tova", "slots": "256", "max_tokens": 64, "temperature": 0.0,
        "top_k": None, "top_p": 1.0, "stop": [], "chat": False, "system": "", "mode": "exact",
        "spacing": "true", "format": "f32", "positions": "none", "beside": "full", "seed": 0,
    },
    "influence": MODEL | {
        "prompt": "", "text": None, "max_tokens": 64, "method": "estimated", "probes": 32,
        "spectral": None, "attention": ["true", "frozen"], **PASSES,
    },
    "longform": MODEL | {
        "prompt": "", "chat": False, "policies": ["window", "window+4", "h2o", "tova"],
        "slots": ["64", "256"], "samples": 4, "max_tokens": 512, "temperature": 0.8, "top_k": None,
        "top_p": None, "mode": "exact", **PASSES,
    },
    "perplexity": MODEL | {
        "text": None,
        "policies": [
            "full", "short", "window", "window+4", "h2o", "h2o-head", "tova", "tova-head", "tova+4",
        ],
        "slots": ["64", "128", "256", "512", "1024"], "max_tokens": 4096, "span": "windows",
        "windows": None, "chunk": 256, "spacing": "true", **PASSES,
    },
    "recall": {
        "model": "smollm2", "tasks": ["verse", "said"], "lengths": [512], "depths": [0.1, 0.5, 0.9],
        "items": 4, "words": 8, "hint": 0,
        "policies": ["full", "truncated", "window", "window+4", "h2o", "tova"],
        "slots": ["64", "256"], "mode": "exact", "format": "f32", "seed": 0,
    },
    "retention": MODEL | {
        "text": None, "max_tokens": 1024, "policies": ["tova"], "slots": ["256"], **PASSES,
    },
    "sweep": {
        "preset": "quick", "grid": [],
        "axes": {
            "task": ["count_ones"], "positions": ["none", "rotary"],
            "remedy": ["none", "separators-3"],
        },
    },
    "train": {
        "task": "count_ones", "preset": "quick", "remedy": "none", "lengths": [2, 32],
        "mix": "uniform", "layers": 2, "heads": 4, "width": 32, "positions": "none",
        "mask": "causal", "temperature": "constant", "steps": 2000, "batch": 32, "parts": 1,
        "remat": False, "rate": 0.003, "seeds": 1, "arithmetic": "f32",
        "formats": ["f32", "bf16", "f16", "e4m3fn"], "examples": 64, "heard": 0, "chunk": 100,
        "mesh": [1, 1, 1],
    },
}  # fmt: skip
BY_LAYER = ("window", "window+4", "h2o-layer", "tova")


def todays(study, kind, **told):
    """What a run of today writes, but for its model's own."""
    settings = kind(**told)
    own = load(study).known(settings)
    return {**own, "axes": settings.axes} if study == "sweep" else own


def older(path, study, **other):
    """A folder of before, with no rows."""
    path.mkdir()
    (path / "settings.json").write_text(to_json({"study": study, **BEFORE[study], **other}))
    return path


@pytest.mark.parametrize(
    ("study", "kind", "told"),
    [
        ("bounded", BoundedSettings, {"model": "toy", "policies": ("full", *BY_LAYER)}),
        ("collapse", CollapseSettings, {"model": "toy"}),
        ("generate", GenerateSettings, {"model": "toy", "prompt": ("1",)}),
        ("longform", LongformSettings, {"model": "toy", "policies": BY_LAYER}),
        (
            "perplexity",
            PerplexitySettings,
            {
                "model": "toy",
                "policies": (
                    "full", "short", "window", "window+4", "h2o-layer", "h2o", "tova", "tova-head",
                    "tova+4",
                ),
            },
        ),
        ("retention", RetentionSettings, {"model": "toy"}),
        ("sweep", SweepSettings, {"grid": ("weight_decay_on=all",)}),
        ("train", TrainSettings, {"task": "count_ones", "weight_decay_on": "all"}),
    ],
)  # fmt: skip
def test_a_folder_of_before_goes_on_under_settings_that_mean_the_same(study, kind, told, tmp_path):
    new = todays(study, kind, **told)
    with RunFolder(older(tmp_path / "run", study), new):
        pass
    said = json.loads((tmp_path / "run" / "settings.json").read_text())
    assert said == json.loads(to_json({"schema": 1, **new}))
    defaults = {name: told[name] for name in ("model", "task", "prompt") if name in told}
    if defaults != told:  # today's defaults mean something else
        with (
            pytest.raises(BadInput, match="another run"),
            RunFolder(older(tmp_path / "other", study), todays(study, kind, **defaults)),
        ):
            pass


@pytest.mark.parametrize(
    ("study", "other", "reason"),
    [
        ("influence", {}, "influence whose rows do not name their text"),
        ("generate", {"model": "smollm2"}, "generate whose texts end at one token only"),
        ("longform", {"model": "a/b.gguf"}, "longform whose texts end at one token only"),
        ("recall", {}, "recall whose texts end at one token only"),
        ("train", {"heads": 3, "positions": "alibi"}, "ALiBi slopes for 3 heads were a geometric"),
        (
            "sweep",
            {"axes": {"positions": ["none", "alibi"], "heads": [2, 6]}},
            "ALiBi slopes for 6 heads were a geometric ladder",
        ),
    ],
)
def test_a_folder_of_before_that_no_settings_mean_is_refused(study, other, reason, tmp_path):
    run = older(tmp_path / "run", study, **other)
    before = (run / "settings.json").read_bytes()
    new = upgraded_settings(json.loads(before))
    with pytest.raises(BadInput, match=f"Expected a run with the same meaning today.*{reason}"):
        RunFolder(run, new).__enter__()
    assert (run / "settings.json").read_bytes() == before


def test_alibi_of_heads_that_are_a_power_of_two_was_the_same(tmp_path):
    new = upgraded_settings({"study": "train", **BEFORE["train"], "positions": "alibi"})
    with RunFolder(older(tmp_path / "run", "train", positions="alibi"), new):
        pass


@pytest.mark.parametrize(("study", "stays"), [("collapse", 1), ("bounded", 1), ("retention", 2)])
def test_rows_that_would_be_taken_for_what_they_do_not_say_are_measured_again(
    study, stays, tmp_path
):
    run = older(tmp_path / "run", study)
    rows = [{"length": 1, "finite": True}, {"length": 2}]
    (run / "rows.jsonl").write_text("".join(to_json(row) + "\n" for row in rows))
    with RunFolder(run, upgraded_settings({"study": study, **BEFORE[study]})):
        assert read_rows(run / "rows.jsonl") == rows[:stays]
