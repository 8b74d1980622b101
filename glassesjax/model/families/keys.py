"""A model's ``config.json``: each key is used, known to be harmless, or refused by name."""

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from glassesjax.errors import BadInput, brief

MOST = 2**31 - 1  # of any size: positions and shapes are int32
MOST_HEADS = 1 << 14  # numbers are listed for each head, or for each pair of its coordinates
MOST_LAYERS = 1000  # as in files of our own

# Keys without a part in the function of a decoder that reads one text: notes, training, sampling,
# and how fast or in how many parts another library computes it.
HARMLESS = frozenset(
    (
        "_attn_implementation",
        "_attn_implementation_autoset",
        "_commit_hash",
        "_from_model_config",
        "_name_or_path",
        "_num_labels",
        "architectures",
        "attention_dropout",
        "attention_probs_dropout_prob",
        "attention_softmax_in_fp32",
        "attn_implementation",
        "attn_pdrop",
        "auto_map",
        "bad_words_ids",
        "begin_suppress_tokens",
        "bias_dropout_fusion",
        "bos_token_id",
        "cache_implementation",
        "chunk_size_feed_forward",
        "classifier_dropout",
        "cls_token_id",
        "decoder_start_token_id",
        "diversity_penalty",
        "do_sample",
        "dropout",
        "dtype",
        "activation_dropout",
        "early_stopping",
        "embd_pdrop",
        "embed_dropout",
        "embedding_dropout",
        "encoder_no_repeat_ngram_size",
        "eos_token_id",
        "exponential_decay_length_penalty",
        "finetuning_task",
        "forced_bos_token_id",
        "forced_eos_token_id",
        "gradient_checkpointing",
        "hidden_dropout",
        "hidden_dropout_prob",
        "id2label",
        "init_std",
        "initializer_factor",
        "initializer_range",
        "is_decoder",
        "keys_to_ignore_at_inference",
        "label2id",
        "language",
        "layerdrop",
        "length_penalty",
        "masked_softmax_fusion",
        "max_length",
        "mask_token_id",
        "min_length",
        "model_type",
        "n_ctx",
        "n_special",
        "no_repeat_ngram_size",
        "num_beam_groups",
        "num_beams",
        "num_labels",
        "num_return_sequences",
        "output_attentions",
        "output_hidden_states",
        "output_past",
        "output_scores",
        "pad_token_id",
        "predict_special_tokens",
        "prefix",
        "pretraining_tp",
        "problem_type",
        "remove_invalid_values",
        "reorder_and_upcast_attn",
        "repetition_penalty",
        "resid_pdrop",
        "residual_dropout",
        "return_dict",
        "return_dict_in_generate",
        "scale_attention_softmax_in_fp32",
        "sep_token_id",
        "seq_length",
        "skip_bias_add",
        "skip_bias_add_qkv",
        "summary_activation",
        "summary_first_dropout",
        "summary_proj_to_labels",
        "summary_type",
        "summary_use_proj",
        "suppress_tokens",
        "task_specific_params",
        "temperature",
        "tf_legacy_loss",
        "tokenizer_class",
        "top_k",
        "top_p",
        "torch_dtype",
        "torchscript",
        "transformers.js_config",
        "transformers_version",
        "typical_p",
        "unk_token_id",
        "unsloth_fixed",
        "unsloth_version",
        "use_bfloat16",
        "use_cache",
    )
)
# Keys of every family with the values that leave its function as it is.
NEUTRAL: Mapping[str, tuple[object, ...]] = {
    "add_cross_attention": (False, None),
    "cross_attention_hidden_size": (None,),
    "is_encoder_decoder": (False, None),
    "is_llama_config": (True,),
    "lm_head_bias": (False, None),
    "pruned_heads": ({}, None),
    "quantization_config": (None,),
    "rope_interleaved": (False,),
    "slow_but_exact": (False, None),  # BLOOM's sum in parts, without its biases
    "tie_encoder_decoder": (False, None),
    "use_bidirectional_attention": (False, None),
    "use_mrope": (False, None),
}


class Keys:
    """The keys of a record, with a note of those that were read."""

    def __init__(self, record: Mapping[str, Any], where: str) -> None:
        self.record, self.where = record, where
        self._read: set[str] = set()

    def refusal(self, expected: str, got: str) -> BadInput:
        """The error for a record that no supported model has."""
        return BadInput(f"Expected {expected} in {self.where}, got {got}: use another model.")

    def value(self, *names: str, default: Any = None) -> Any:  # noqa: ANN401
        """The value under a key, or under one of several names of it; null counts as absent."""
        self._read |= set(names)
        given = {n: self.record[n] for n in names if self.record.get(n) is not None}
        values = list(given.values())
        if any(value != values[0] for value in values[1:]):
            listed = " and ".join(f"{name} {brief(value)}" for name, value in given.items())
            raise self.refusal(f"one value of {names[0]}", listed)
        return values[0] if values else default

    def is_null(self, name: str) -> bool:
        """Whether a key is there and null, which is no default."""
        return name in self.record and self.record[name] is None

    def count(
        self, *names: str, default: int | None = None, least: int = 1, most: int = MOST
    ) -> int:
        """A whole number."""
        value = self.value(*names, default=default)
        if type(value) is not int or not least <= value <= most:
            got = "none" if value is None else brief(value)
            raise self.refusal(f"a whole number {names[0]} from {least} to {most}", got)
        return value

    def number(self, *names: str, default: float | None = None, least: float = 0.0) -> float:
        """A finite number."""
        value = self.value(*names, default=default)
        finite = type(value) in (int, float) and least <= value <= 1e30 and math.isfinite(value)
        if not finite:
            got = "none" if value is None else brief(value)
            raise self.refusal(f"a number {names[0]} of at least {least}", got)
        return float(value)

    def optional_number(self, name: str) -> float | None:
        """A finite number, or None where the key is absent."""
        return None if self.value(name) is None else self.number(name)

    def flag(self, name: str, *, default: bool) -> bool:
        """True or false."""
        value = self.value(name, default=default)
        if not isinstance(value, bool):
            raise self.refusal(f"{name} true or false", brief(value))
        return value

    def choice(self, *names: str, of: Collection[str], default: str | None = None) -> str:
        """One of some texts."""
        value = self.value(*names, default=default)
        if not isinstance(value, str) or value not in of:
            raise self.refusal(f"{names[0]} out of {', '.join(of)}", brief(value))
        return value

    def listed(self, name: str, count: int) -> Sequence[Any] | None:
        """A list of so many entries, or None where the key is absent."""
        value = self.value(name)
        if value is not None and not (isinstance(value, list) and len(value) == count):
            got = f"{len(value)}" if isinstance(value, list) else brief(value)
            raise self.refusal(f"a list {name} of {count} entries", got)
        return value

    def mapping(self, name: str) -> Mapping[str, Any] | None:
        """An object, or None where the key is absent."""
        value = self.value(name)
        if value is not None and not isinstance(value, dict):
            raise self.refusal(f"an object {name}", brief(value))
        return value

    def neutral(self, name: str, *values: object) -> None:
        """Refuses a key that has another value than one without effect."""
        self._read.add(name)
        if name not in self.record:
            return
        got = self.record[name]
        # By type as well: true is not 1, though Python has them equal.
        if not any(type(got) is type(value) and got == value for value in values):
            expected = " or ".join(map(brief, values))
            raise self.refusal(f"{name} {expected} or without it", brief(got))

    def check_all_read(self) -> None:
        """Refuses a key that was not read and is not known to be harmless.

        Raises:
          BadInput: There is one; its meaning is unknown here.
        """
        for name, values in NEUTRAL.items():
            if name not in self._read:
                self.neutral(name, *values)
        if unknown := sorted(self.record.keys() - self._read - HARMLESS):
            got = f"{brief(unknown[0])} = {brief(self.record[unknown[0]])}"
            raise self.refusal("keys whose effect is known", got)
