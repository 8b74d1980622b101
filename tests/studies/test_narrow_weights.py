"""Studies leave weights of 16 bits narrow where their plan computes with them in float32."""

import dataclasses

import ml_dtypes
import pytest
from model.made_folders import LLAMA, folder, llama_tensors

from glassesjax.model import Decoder
from glassesjax.model.pretrained import open_model
from glassesjax.precision import BF16, F32, RoundingPlan
from glassesjax.studies.bounded import measure as bounded
from glassesjax.studies.bounded.settings import BoundedSettings
from glassesjax.studies.influence import measure as influence
from glassesjax.studies.influence.settings import InfluenceSettings
from glassesjax.studies.retention import measure as retention
from glassesjax.studies.retention.settings import RetentionSettings

PROMPT = tuple(range(11))
NARROW = RoundingPlan(weights=BF16, mode="native", carrier=F32)


class Stored(Exception):
    """Raised where a study first stores its weights, in place of all that it computes."""


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return str(folder(tmp_path_factory.mktemp("narrow"), LLAMA, llama_tensors(ml_dtypes.bfloat16)))


def run_influence(path):
    settings = InfluenceSettings(model=path, prompt_tokens=PROMPT, method="exact")
    subject = influence.open_subject(settings)
    return lambda: list(influence.measure(settings, subject))


def run_bounded(path):
    settings = BoundedSettings(
        model=path, prompt_tokens=PROMPT, kinds=("influence",), policies=("tova",), slots=("4",)
    )
    model = open_model(path)
    return lambda: list(bounded.measure(settings, "rotary", model))


def run_retention(path):
    del path  # it reads text, and the folder has no tokenizer
    settings = RetentionSettings(model="toy", policies=("tova",), slots=("4",), max_tokens=9)
    subject = retention.open_subject(settings)
    narrow = dataclasses.replace(subject.model, decoder=subject.model.decoder.at(NARROW))
    subject = subject._replace(model=narrow)
    # ``measure`` reads it lazily, after the policies.
    return lambda: retention._Full(settings, subject).perplexity


@pytest.mark.parametrize("prepare", [run_influence, run_bounded, run_retention])
def test_narrow_weights_stay_narrow(prepare, path, monkeypatch):
    run = prepare(path)

    def at(decoder, plan):
        raise Stored(plan)

    monkeypatch.setattr(Decoder, "at", at)
    # Weights that nobody trained have no perplexity.
    monkeypatch.setattr(retention, "ranking_obstacle", lambda model: None)
    with pytest.raises(Stored) as stored:
        run()
    (plan,) = stored.value.args
    assert (plan.weights, plan.mode) == (BF16, "native")
    assert plan.carrier != BF16
