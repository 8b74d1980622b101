"""Small decoders with the tokenizers that real families have."""

import jax
from model.made_tokenizers import folder_of

from glassesjax.model import Decoder, DecoderConfig, GatedMlp, Rotary
from glassesjax.model.folder_tokenizer import open_tokenizer
from glassesjax.model.language import LanguageModel, ModelHeader

ROWS = 420  # more than tokens, as usual


def text_header(folder, kind, *, max_length=512):
    """Header of a random decoder with the tokenizer of a kind, or with none."""
    config = DecoderConfig(
        vocab_size=ROWS,
        num_layers=2,
        num_heads=2,
        num_kv_heads=1,
        model_dim=8,
        head_dim=4,
        mlp=GatedMlp(dim=12),
        positions=Rotary(),
        max_length=max_length,
    )
    if kind is None:
        folder.mkdir(exist_ok=True)
    tokenizer = open_tokenizer(folder if kind is None else folder_of(folder, kind), ROWS)
    read = lambda: LanguageModel(
        "made", Decoder(config, key=jax.random.key(5)), tokenizer, {"weights": "made"}
    )
    return ModelHeader("made", config, tokenizer, read)
