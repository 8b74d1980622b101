"""A small model that reads bytes, and a Bible of two books for it."""

import types

import jax

from glassesjax.model import Decoder, DecoderConfig, GatedMlp, Rotary
from glassesjax.model.language import LanguageModel, ModelHeader
from glassesjax.model.spelling import BYTES
from glassesjax.model.tokenizer import TextTokenizer

END = 256
NAMES = {byte: name for name, byte in BYTES.items()}


class Bytes:
    """The part of ``tokenizers.Tokenizer`` that is used, a token a byte."""

    def encode(self, text, add_special_tokens):
        return types.SimpleNamespace(ids=list(text.encode()))

    def decode(self, tokens, skip_special_tokens):
        return bytes(token for token in tokens if token != END).decode(errors="replace")

    def id_to_token(self, token):
        return "<end>" if token == END else NAMES[token]


TOKENIZER = TextTokenizer(engine=Bytes(), bos=None, eos=END, opening=(), chat_template=None)
CONFIG = DecoderConfig(
    vocab_size=257,
    num_layers=2,
    num_heads=2,
    num_kv_heads=1,
    model_dim=8,
    head_dim=4,
    mlp=GatedMlp(dim=12),
    positions=Rotary(),
    max_length=512,
)
SPOKEN = (
    ("Adah", "I will go up to the hill with all my flock today."),
    ("Boaz", "Bring the seven lambs here before the evening comes near."),
    ("Cain", "Who has seen the old well that my father made?"),
    ("Adah", "The rain has come, and the brook is full of water."),
    ("Dan", "Let every man take his staff and walk with me."),
)


def made_model():
    return LanguageModel(
        "made", Decoder(CONFIG, key=jax.random.key(3)), TOKENIZER, {"weights": "made"}
    )


def made_header():
    return ModelHeader("made", CONFIG, TOKENIZER, made_model)


def made_verses():
    """Ten verses of one book, the even ones spoken; two of another."""
    verses = []
    for number in range(10):
        name, speech = SPOKEN[number // 2]
        text = f"And {name} said unto them, {speech}" if number % 2 == 0 else f"Day {number} came."
        verses.append(verse("Made", number + 1, text))
    return [*verses, verse("Short", 1, "It was so."), verse("Short", 2, "And no more.")]


def verse(book, number, text):
    citation = f"{book} 1:{number}"
    return {"citation": citation, "text": text, "book": book, "chapter": 1, "verse": number}
