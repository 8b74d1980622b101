"""Verbs that measure no model and leave no run: what there is here."""

from collections.abc import Iterable, Mapping

from glassesjax.errors import BadInput
from glassesjax.runs.study import Command


def _models() -> Iterable[str]:
    from glassesjax.model.pretrained import SMOLLM2_COMMAND, smollm2_file
    from glassesjax.model.toy import TOY_POSITIONS
    from glassesjax.model.trained import TRAINED

    models = {"toy": f"always: a seeded decoder; positions {', '.join(TOY_POSITIONS)}"}
    models["counter"] = "always: two layers written by hand that count exactly"
    models |= {name: f"always: made by {trained.command}" for name, trained in TRAINED.items()}
    try:
        models["smollm2"] = f"here: {smollm2_file().name}"
    except BadInput:
        models["smollm2"] = f"not here; to get it: {SMOLLM2_COMMAND}"
    models["FILE"] = "any .gguf of the llama architecture with a byte-level BPE tokenizer"
    models["RUN"] = "what glassesjax train wrote: a model-SEED.safetensors, or its run folder"
    return _aligned(models)


def _backend() -> Iterable[str]:
    from glassesjax.precision import backend_report

    return _aligned(backend_report())


def _aligned(texts: Mapping[str, object]) -> list[str]:
    width = max(map(len, texts))
    return [f"{name:{width}}  {text}" for name, text in texts.items()]


MODELS = Command(
    name="models",
    description="Which models can be opened here, and how to get the others.",
    lines=_models,
)
BACKEND = Command(
    name="backend",
    description="What this backend really does with casts, products and subnormals.",
    lines=_backend,
)
