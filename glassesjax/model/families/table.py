"""The table of families, by the ``model_type`` of a configuration; and what is refused by name."""

from collections.abc import Callable, Mapping

from glassesjax.errors import BadInput, brief
from glassesjax.model.families.falcon import read_bloom, read_falcon
from glassesjax.model.families.family import Family, Reading
from glassesjax.model.families.gemma import read_gemma, read_gemma2, read_gemma3
from glassesjax.model.families.gpt import read_gpt2, read_gpt_neox, read_opt, read_starcoder2
from glassesjax.model.families.keys import Keys
from glassesjax.model.families.llama import (
    read_llama,
    read_mistral,
    read_olmo2,
    read_phi3,
    read_qwen2,
    read_qwen3,
    read_smollm3,
)

FREQUENCIES = ("rotary_emb.inv_freq", "rotary_emb.cos_cached", "rotary_emb.sin_cached")


def _like_llama(title: str, name: str, read: Callable[[Keys], Reading]) -> Family:
    classes = (f"{name}ForCausalLM", f"{name}Model")
    return Family(
        title=title, architectures=classes, read=read, prefix="model.", buffers=FREQUENCIES
    )


FAMILIES: Mapping[str, Family] = {
    "llama": _like_llama("LLaMA, Yi, SmolLM2", "Llama", read_llama),
    "mistral": _like_llama("Mistral", "Mistral", read_mistral),
    "smollm3": _like_llama("SmolLM3", "SmolLM3", read_smollm3),
    "qwen2": _like_llama("Qwen2, Qwen2.5", "Qwen2", read_qwen2),
    "qwen3": _like_llama("Qwen3", "Qwen3", read_qwen3),
    "phi3": _like_llama("Phi-3, Phi-4-mini", "Phi3", read_phi3),
    "olmo2": _like_llama("OLMo 2", "Olmo2", read_olmo2),
    "gemma": _like_llama("Gemma", "Gemma", read_gemma),
    "gemma2": _like_llama("Gemma 2", "Gemma2", read_gemma2),
    "gemma3_text": Family(
        title="Gemma 3",
        architectures=("Gemma3ForCausalLM", "Gemma3TextModel"),
        read=read_gemma3,
        prefix="model.",
        buffers=FREQUENCIES,
    ),
    "gpt2": Family(
        title="GPT-2",
        architectures=("GPT2LMHeadModel", "GPT2Model"),
        read=read_gpt2,
        prefix="transformer.",
        buffers=("attn.bias", "attn.masked_bias"),
    ),
    "gpt_neox": Family(
        title="GPT-NeoX, Pythia",
        architectures=("GPTNeoXForCausalLM", "GPTNeoXModel"),
        read=read_gpt_neox,
        prefix="gpt_neox.",
        buffers=("attention.bias", "attention.masked_bias", *FREQUENCIES),
    ),
    "opt": Family(
        title="OPT",
        architectures=("OPTForCausalLM", "OPTModel"),
        read=read_opt,
        prefix="model.",
    ),
    "starcoder2": _like_llama("StarCoder2", "Starcoder2", read_starcoder2),
    "falcon": Family(
        title="Falcon",
        architectures=("FalconForCausalLM", "FalconModel"),
        read=read_falcon,
        prefix="transformer.",
        buffers=FREQUENCIES,
    ),
    "bloom": Family(
        title="BLOOM",
        architectures=("BloomForCausalLM", "BloomModel"),
        read=read_bloom,
        prefix="transformer.",
    ),
}
EXPERTS, LATENT = "a mixture of experts", "latent attention (MLA)"
ENCODER, SINKS = "an encoder with a decoder", "sink logits"
SEES, STATE = "a text model inside one of images or sounds", "a state in place of attention"
REFUSED: Mapping[str, str] = {
    **dict.fromkeys(("mixtral", "qwen2_moe", "qwen3_moe", "phimoe", "olmoe", "dbrx"), EXPERTS),
    **dict.fromkeys(("granitemoe", "llama4", "llama4_text", "qwen3_next", "glm4_moe"), EXPERTS),
    **dict.fromkeys(("deepseek_v2", "deepseek_v3", "minicpm3", "kimi_k2"), LATENT),
    **dict.fromkeys(("t5", "mt5", "bart", "mbart", "pegasus", "whisper", "marian"), ENCODER),
    **dict.fromkeys(("gemma3", "llava", "mllama", "qwen2_vl", "qwen2_5_vl", "paligemma"), SEES),
    **dict.fromkeys(("mamba", "mamba2", "rwkv", "jamba", "recurrent_gemma"), STATE),
    "gpt_oss": SINKS,
}
QUANTIZED = "quantization_config"


def family_of(keys: Keys) -> Family:
    """The row of the table for a configuration.

    Args:
      keys: The configuration.

    Raises:
      BadInput: The model is quantized, of another family, or of a class with other parts.
    """
    if (given := keys.record.get(QUANTIZED)) is not None:
        kind = given.get("quant_method") if isinstance(given, dict) else given
        raise keys.refusal("weights in a floating-point format", f"{brief(kind)} in {QUANTIZED}")
    name = keys.value("model_type")
    if not isinstance(name, str) or name not in FAMILIES:
        got = "none" if name is None else brief(name)
        reason = REFUSED.get(name) if isinstance(name, str) else None
        got = f"{got}, {reason}" if reason else got
        expected = f"Expected a model_type out of {', '.join(FAMILIES)}"
        raise BadInput(f"{expected}, got {got} in {keys.where}: use another model.")
    family, classes = FAMILIES[name], keys.value("architectures", default=[])
    known = isinstance(classes, list) and all(each in family.architectures for each in classes)
    if not known:
        raise keys.refusal(
            f"architectures out of {', '.join(family.architectures)}", brief(classes)
        )
    return family
