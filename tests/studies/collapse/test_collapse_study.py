"""The collapse study on the toy: its rows, what theory says of them, and resuming."""

import contextlib
import dataclasses
import io
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from made_decoders import passed
from studies.made_diverged import check_diverged, faults, words_of

from glassesjax.cli import run
from glassesjax.errors import BadInput
from glassesjax.model.narrow import under
from glassesjax.model.pretrained import open_model
from glassesjax.precision import BF16, F64, RoundingPlan, float_format, named_plan
from glassesjax.runs.record import names, to_row
from glassesjax.runs.rows import read_rows
from glassesjax.studies.collapse import layers
from glassesjax.studies.collapse.measure import CollapseSettings, lay_out, measure
from glassesjax.studies.collapse.records import ROWS, CollapseRow
from glassesjax.studies.collapse.rows import UNROUNDED, wide_resolution
from glassesjax.trace import collapse as trace_collapse
from glassesjax.trace import noise
from glassesjax.trace.collapse import NORMS
from glassesjax.trace.decay import fit_decay, loglog_slope
from glassesjax.trace.overflow import first_overflow

pytestmark = pytest.mark.usefixtures("one_program")

LENGTHS = (1, 2, 4, 8, 16, 32, 64)
SETTINGS = CollapseSettings(
    model="toy",
    families=("ones", "ones_zero", "ones_bos"),
    lengths=LENGTHS,
    formats=("f32", "bf16", "e4m3fn"),
    positions=("none",),
)


@pytest.fixture(scope="module")
def rows():
    model = open_model("toy", positions="none")
    return [to_row(row) for _, rows in measure(SETTINGS, "none", model) for row in rows]


def pick(rows, **wanted):
    return [row for row in rows if all(row[name] == value for name, value in wanted.items())]


def test_every_row_is_there_once(rows):
    keys = {tuple(row[name] for name in ROWS.key) for row in rows}
    cells = len(SETTINGS.families) * len(SETTINGS.formats)
    assert len(rows) == len(keys) == cells * 4 * len(NORMS) * len(LENGTHS)


def test_every_field_is_there_somewhere(rows):
    # An overflow is in a run of its own.
    assert set().union(*rows) == set(names(CollapseRow)) - {"overflow_site", "overflow_layer"}


def test_rows_have_a_formats_own_name():
    settings = dataclasses.replace(SETTINGS, formats=("bfloat16", "half", "e4m3fn_sat"))
    assert settings.formats == ("bf16", "f16", "e4m3fn_sat")
    with pytest.raises(ValueError, match="different --formats, got bf16 and bfloat16, one plan"):
        dataclasses.replace(SETTINGS, formats=("bf16", "bfloat16"))


def test_the_mode_is_the_formats(rows):
    assert {row["mode"] for row in pick(rows, format="bf16", curve="noise_floor")} == {"native"}
    assert {row["mode"] for row in pick(rows, format="e4m3fn", curve="noise_floor")} == {
        "simulated"
    }


def test_a_constant_run_without_positions_does_not_move_at_all(rows):
    # Attention rows sum to one and all values are equal: every row is the same at every depth.
    for row in pick(rows, family="ones", curve="signal", mode="reference"):
        assert row["distance"] <= row["resolution"]


def test_one_mark_before_the_run_makes_it_fall_between_n_and_n_squared(rows):
    curve = pick(rows, family="ones_bos", curve="signal", mode="reference", norm="l1", format="f32")
    late = [row for row in curve if row["length"] >= 4]
    lengths, gaps = ([row[name] for row in late] for name in ("length", "distance"))
    # One layer falls as n^-2; each of two more layers multiplies by log n (papers, closed form).
    assert -2 < loglog_slope(lengths, gaps) < -1
    assert fit_decay(lengths, gaps).law == "power"
    assert all(row["distance"] > 1e6 * row["resolution"] for row in curve)


def test_rounding_ends_what_arithmetic_noise_hides(rows):
    model_dim = open_model("toy", positions="none").config.model_dim
    last = {"family": "ones_bos", "length": 64, "format": "e4m3fn", "norm": "l2"}
    (rounded,) = pick(rows, curve="rounded", **last)
    (noise,) = pick(rows, curve="noise_floor", **last)
    (signal,) = pick(rows, curve="signal", mode="reference", **last)
    assert rounded["equal_coordinates"] > 0.8 * model_dim
    assert signal["distance"] < noise["distance"]
    assert signal["equal_coordinates"] < 0.2 * model_dim


def test_noise_is_of_the_size_of_the_format(rows):
    for name, share in (("f32", 2.0**-24), ("bf16", 2.0**-8), ("e4m3fn", 2.0**-4)):
        noise = pick(rows, format=name, curve="noise_floor", norm="relative_l1")
        for row in noise:
            # Three layers of about ten stored values each, so a few roundings and not thousands.
            assert share / 100 < row["distance"] < 100 * share


def test_f32_resolves_what_float64_says(rows):
    common = {"format": "f32", "curve": "signal", "norm": "linf", "family": "ones_bos"}
    for wide, own in zip(
        pick(rows, mode="reference", **common), pick(rows, mode="native", **common), strict=True
    ):
        # The row's resolution is the error of the difference: a triangle, up to float64's rounding.
        error = own["resolution"] + 2.0**-50 * wide["distance"]
        assert own["distance"] == pytest.approx(wide["distance"], abs=error)


def test_the_certificate_is_never_wrong_where_both_prompts_are_measured(rows):
    answers = pick(rows, curve="signal", norm="l2", mode="reference", format="f32")
    certified = 0
    for family in SETTINGS.families:
        one, two, *_ = pick(answers, family=family)  # the longer prompt at 1 is the shorter at 2
        certified += one["certified"]
        assert not one["certified"] or one["token"] == two["token"]
    assert certified > 0
    for row in answers:
        assert row["certified"] == (row["margin_used"] < 1)
    assert not any("certified" in row for row in rows if row["mode"] != "reference")


def test_layers_are_bounded_where_the_last_token_is_repeated_at_the_longest_length(rows):
    bounded = [row for row in rows if "layers_bound" in row]
    wanted = {"curve": "signal", "mode": "reference", "norm": "l1", "format": "f32", "length": 64}
    assert bounded == [row for row in pick(rows, **wanted) if row["repeats_last"]]
    assert {row["family"] for row in bounded} == {"ones", "ones_bos"}
    for row in bounded:
        assert row["entry_distance"] == 0
        assert row["layers_distance"] < row["layers_bound"]
        assert (row["without_bound"], row["exceeded"]) == ((), ())


def test_layers_name_what_has_no_bound_and_what_is_exceeded(monkeypatch):
    """A window hides a key from one row; and a bound that is too small is found out."""
    model = open_model("toy", positions="window")
    tokens = model.tokenizer.encode_symbols(("<bos>", *"0123", *"1" * 80))
    measured = layers._certified

    def halved(decoder, tokens):
        found, rounding = measured(decoder, tokens)
        half = found.layers.out._replace(bound=found.layers.out.measured / 2)
        return found._replace(layers=found.layers._replace(out=half)), rounding

    with jax.enable_x64(True):
        decoder = under(model.decoder, UNROUNDED[F64])
        found = layers.layer_bounds(decoder, jnp.asarray(tokens, jnp.int32))
        assert (found.without_bound, found.exceeded) == (("R4",), ())
        monkeypatch.setattr(layers, "_certified", halved)
        found = layers.layer_bounds(decoder, jnp.asarray(tokens, jnp.int32))
    assert (found.without_bound, found.exceeded) == (("R4",), ("R2",))


@pytest.mark.parametrize("name", ["bf16", "e4m3fn"])
def test_the_answer_is_that_of_the_weights_that_made_the_representation(rows, name):
    model = open_model("toy", positions="none")
    plan = RoundingPlan(weights=float_format(name), mode="simulated", carrier=F64)
    decoder = model.decoder.at(plan)
    tokens = model.tokenizer.encode_symbols(("<bos>", *"1" * 4))
    y, _ = jax.jit(lambda d, t: d(t))(decoder, jnp.asarray(tokens, jnp.int32))
    logits = decoder.logits(y[-1:])[0]
    wanted = {"format": name, "family": "ones_bos", "length": 4, "norm": "l2"}
    (row,) = pick(rows, curve="signal", mode="reference", **wanted)
    assert row["token"] == int(jnp.argmax(logits))
    top, second = jnp.sort(logits)[::-1][:2]
    assert row["margin"] == pytest.approx(
        float(top - second), rel=1e-9, abs=0
    )  # differences of the sums


def test_the_callers_setting_of_jax_is_its_own_between_cells():
    model = open_model("toy", positions="none")
    with jax.enable_x64(False):
        cells = measure(SETTINGS, "none", model)
        for _ in range(2):
            next(cells)
            assert jnp.zeros(1).dtype == jnp.float32


@pytest.fixture(scope="module")
def wide_formats():
    """Rows in float64, and in a format with more exponent bits than float32."""
    settings = dataclasses.replace(SETTINGS, formats=("f64", "e9m10"))
    model = open_model("toy", positions="none")
    found = [to_row(row) for _, rows in measure(settings, "none", model) for row in rows]
    return [pick(found, format=name, family="ones") for name in settings.formats]


def test_float64_is_the_wide_arithmetic_and_has_no_noise_beside_it(wide_formats):
    wide, odd = wide_formats
    assert {(row["curve"], row["mode"]) for row in wide} == {
        ("signal", "reference"),
        ("rounded", "reference"),
    }
    assert all(row["distance"] <= row["resolution"] for row in wide)
    # Random weights leave coordinates that both prompts have equal, some of them zero.
    ulp = [row for row in wide if row["norm"] == "ulp"]
    assert ulp
    assert all(math.isfinite(row["distance"]) and math.isfinite(row["resolution"]) for row in ulp)
    # More exponent bits than float32 has: simulated in a float64 carrier.
    assert {row["dtype"] for row in odd if row["curve"] == "noise_floor"} == {"float64"}


def test_the_resolution_in_ulps_is_finite_where_a_coordinate_is_zero():
    wide = jnp.array([[0.0, 1.0, 2.0], [0.0, 0.0, 4.0]])
    single = wide + jnp.array([[0.0, 0.0, 2.0**-24]])
    resolution = jax.jit(wide_resolution, static_argnames="number_format")
    found = resolution(wide, single, wide, F64)
    # Eight times 2^-29 of float32's error, in units of the spacing at 2: no other one errs.
    assert found["ulp"].tolist() == [2.0**-26 * 2.0**-24 / 2.0**-51] * 2
    noisy = resolution(wide, single + 2.0**-24, wide, F64)
    assert noisy["ulp"].tolist() == [2.0**54] * 2  # what two numbers can be apart at the most
    assert not math.isfinite(resolution(wide, single, wide / 0, F64)["ulp"][0])


def test_cells_that_are_done_are_left_out(rows):
    done = {tuple(row[name] for name in ROWS.key) for row in pick(rows, family="ones")}
    model = open_model("toy", positions="none")
    remaining = measure(
        SETTINGS, "none", model, done=lambda row: tuple(row[name] for name in ROWS.key) in done
    )
    cell, _ = next(remaining)
    assert cell.family == "ones_zero"


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"lengths": ()}, "one or more different --lengths"),
        ({"lengths": (4, 2)}, "ascending positive --lengths"),
        ({"lengths": (0, 2)}, "ascending positive --lengths"),
        ({"lengths": (2, 2)}, "different --lengths"),
        ({"families": ("twos",)}, "'twos'"),
        ({"formats": ("f31",)}, "f31"),
        ({"formats": ()}, "one or more different --formats"),
        ({"formats": ("bf17",)}, "did you mean 'bf16'"),
        ({"formats": ("bf16@weight",)}, "did you mean 'bf16@weights'"),
        ({"formats": ("f32", "int8")}, "rounds each token by itself, got 'int8'"),
        ({"formats": ("bf16", "native-bf16")}, "bf16 and native-bf16, one plan"),
        ({"positions": ("spiral",)}, "'spiral'"),
        ({"model": "smollm2", "positions": ("rotary",)}, "has its own"),
        ({"seed": -1}, "a seed from 0"),
        ({"seed": 2**32}, "a seed from 0"),
    ],
)
def test_bad_settings_are_named(change, text):
    with pytest.raises(BadInput, match=text):
        CollapseSettings(**({"model": "toy"} | change))


def test_a_length_over_the_context_is_named():
    for length, needed in ((8192, 8193), (2**31 - 1, 2**31 - 1)):  # before so many symbols are made
        settings = CollapseSettings(
            model="toy", lengths=(length,), families=("ones",), positions=("none",)
        )
        model = open_model("toy", positions="none")
        with pytest.raises(BadInput, match=rf"at most 8192 tokens.*got {needed}"):
            lay_out(settings, model)


@pytest.fixture(scope="module")
def overflowing(undrawn, tmp_path_factory):
    """A run in formats that the representations leave: its rows, its status, what it prints."""
    settings = dataclasses.replace(SETTINGS, formats=("e2m2", "e2m1"))
    out, printed = tmp_path_factory.mktemp("overflowing") / "run", io.StringIO()
    words = ["collapse", "toy", *words_of(settings), "--positions", "none", "--out", str(out)]
    with contextlib.redirect_stdout(printed):
        status = run(words)
    return read_rows(out / "rows.jsonl", lists=True), status, printed.getvalue()


def test_an_overflow_is_no_number_and_not_hidden(overflowing):
    rows, _, _ = overflowing
    own = pick(rows, format="e2m1", family="ones_zero", curve="noise_floor", norm="l1")
    assert own
    assert all(math.isfinite(row["distance"]) for row in own)  # e2m1 saturates


def test_the_overflow_of_a_format_is_a_result(overflowing):
    rows, status, said = overflowing
    assert status == 0
    assert "FAILED" not in said
    rows = pick(rows, format="e2m2", family="ones_zero")
    assert all(row["finite"] for row in rows)
    own = pick(rows, mode="simulated", curve="signal")
    lost = [row for row in own if row["distance"] is None]
    assert lost
    assert {row.get("detectable") for row in lost} == {None}


def test_an_overflow_is_named_by_its_site(overflowing):
    """In the row of the first length, of its own arithmetic in L2; and in the answer."""
    rows, _, said = overflowing
    named = [row for row in rows if "overflow_site" in row]
    for family in SETTINGS.families:
        own = pick(rows, format="e2m2", family=family, mode="simulated", curve="signal", norm="l2")
        first = min(row["length"] for row in own if row["distance"] is None)
        (row,) = pick(named, family=family)
        assert (row["length"], row["norm"], row["curve"]) == (first, "l2", "signal")
    (row,) = pick(named, family="ones_bos")
    model = open_model("toy", positions="none")
    tokens = jnp.asarray(model.tokenizer.encode_symbols(("<bos>", *"1" * row["length"])), jnp.int32)
    first = first_overflow(model.decoder, named_plan("e2m2"), tokens)
    assert (row["overflow_site"], row["overflow_layer"]) == first
    site = row["overflow_site"]
    assert f"e2m2 is not finite in 3 of 3 prompt families, first at {site}" in said


PLANS = ("bf16@weights", "e4m3fn@attn_weights", "bf16@all", "int8_channel", "bf16@output")


@pytest.fixture(scope="module")
def planned():
    """Rows of rounding plans, and of bf16 as the backend computes."""
    few = {"formats": ("bf16", *PLANS), "families": ("ones_bos",), "lengths": (4, 64)}
    settings = dataclasses.replace(SETTINGS, **few)
    model = open_model("toy", positions="none")
    found = [to_row(row) for _, rows in measure(settings, "none", model) for row in rows]
    return {name: pick(found, format=name) for name in settings.formats}


def test_every_row_names_plan_dtype_and_mode(planned):
    for name in PLANS:
        own = pick(planned[name], mode="simulated")
        assert {(row["dtype"], row["rounding"]) for row in own} == {
            ("float32", named_plan(name).name)
        }
        assert {row["curve"] for row in own} == {"signal", "noise_floor"}
    assert {row["rounding"] for row in pick(planned["bf16"], mode="native")} == {
        "native bf16 everywhere"
    }


def test_what_a_plan_stores_is_its_output_or_its_residual_stream(planned):
    stored = {name: pick(rows, curve="rounded") for name, rows in planned.items()}
    kept = {"bf16", "bf16@all", "int8_channel", "bf16@output"}
    assert {name for name, rows in stored.items() if rows} == kept
    # The resolution in ulp is by the spacing of a reference on stored weights.
    own = ("format", "resolution")
    lasting = lambda rows: [{k: v for k, v in row.items() if k not in own} for row in rows]
    assert lasting(stored["bf16@output"]) == lasting(stored["bf16"])
    # A format with scales has no spacing of its own, and so no steps.
    ulp = pick(stored["int8_channel"], norm="ulp")
    assert ulp
    assert not any("ulp_distance" in row for row in ulp)


def test_the_reference_has_the_weights_of_the_plan(planned):
    """Those that bf16 rounds too; and unrounded ones, where no weight is rounded."""
    signal = lambda name: [
        (row["norm"], row["length"], row["distance"])
        for row in pick(planned[name], curve="signal", mode="reference")
        if row["norm"] != "ulp"  # whose unit is what the plan stores in
    ]
    assert signal("bf16@weights") == signal("bf16@all") == signal("bf16")
    assert signal("e4m3fn@attn_weights") == signal("bf16@output") != signal("bf16")


def test_the_own_curve_is_the_decoder_under_the_plan(planned):
    model = open_model("toy", positions="none")
    prompts = [
        jnp.asarray(model.tokenizer.encode_symbols(("<bos>", *"1" * n)), jnp.int32) for n in (4, 5)
    ]
    # Sums of float32 in another order: of a pass for all prompts, and of one for each. Their
    # errors may be rounded apart, where a format stores what they made.
    for name, slack in (("bf16@weights", 1e-4), ("e4m3fn@attn_weights", 1e-4), ("bf16@all", 0.05)):
        decoder = model.decoder.at(named_plan(name))
        first, second = (np.asarray(passed(decoder, each)[0][-1]) for each in prompts)
        wanted = {"curve": "signal", "mode": "simulated", "norm": "linf", "length": 4}
        (row,) = pick(planned[name], **wanted)
        apart = float(np.abs(first.astype(np.float64) - second).max())
        assert row["distance"] == pytest.approx(apart, rel=slack, abs=0)


def test_simulated_and_native_bf16_are_one_arithmetic_here(planned):
    """On a CPU, bit for bit; the names and the modes differ."""
    names = ("bf16", "bf16@all")
    own = [[row for row in planned[name] if row["mode"] != "reference"] for name in names]
    for native, simulated in zip(*own, strict=True):
        assert native["distance"] == simulated["distance"]
        assert (native["mode"], simulated["mode"]) == ("native", "simulated")


@pytest.mark.slow  # some 170 programs of one operation each
def test_single_operations_give_what_programs_give():
    """The other tests here compile these two, as the study does not."""
    first, second = np.asarray([[1.0, 0.25], [0.5, 3.0]]), np.asarray([[1.5, 0.25], [0.5, 3.125]])
    pairs = first, second, first * (1 + 2.0**-9), second * (1 - 2.0**-8)
    for function, given in ((trace_collapse.distance, pairs[:2]), (noise.paired_noise, pairs)):
        compiled = jax.jit(function, static_argnames="storage")(*given, storage=BF16)
        for one, other in zip(
            jax.tree.leaves(function(*given, storage=BF16)), jax.tree.leaves(compiled), strict=True
        ):
            np.testing.assert_allclose(one, other, rtol=8 * 2.0**-53)


@pytest.mark.usefixtures("undrawn")
@faults
def test_a_diverged_model_is_said_to_be_one(rows, fault, tmp_path, capsys):
    settings = dataclasses.replace(SETTINGS, formats=("bf16",))
    check_diverged("collapse", words_of(settings), tmp_path, capsys, fault)
