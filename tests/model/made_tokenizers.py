"""Small tokenizers of each kind in the wild, trained here, in folders as users have them."""

import functools
import json

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

from glassesjax.model.spelling import byte_name

CORPUS = (
    "In the beginning was the word, and the word was 111 of 1111 and 11.",
    "def f(x):\n\treturn {1: 'a', 22: [x, 333]}\n\n",
    "naïve cafés, 漢字 and  two  spaces; 10 101 1010 111,111.",
)
AWKWARD = (
    "", "1", "111", "1,111", "  two  spaces ", " lead", "tail  ", "naïve — ☃ 👩‍🚀", "漢字かな",
    "\x00\x07\t\r\n x", "def f(x):\n\treturn {1: 'a'}\n\n\n", "é e\u0301", "1,234.50",
    "<bos>the<tool>word</s>", "\u2581 literal", "<0x41> A",
)  # fmt: skip
WORDS = (
    r"(?i:'s|'t)|[^\r\n\p{L}\p{N}]?\p{L}+|NUMBERS| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
SPECIAL = ["<unk>", "<bos>", "</s>"]
BOS = 1


def byte_level(numbers, *, bos=False, **model):
    """Splits by an expression, then merges bytes: GPT-2's way, with the digits' rule of others."""
    engine = Tokenizer(models.BPE(**model))
    words = pre_tokenizers.Split(Regex(WORDS.replace("NUMBERS", numbers)), "isolated")
    bytes_of = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    engine.pre_tokenizer = pre_tokenizers.Sequence([words, bytes_of])
    engine.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    engine.train_from_iterator(CORPUS, trainer)
    engine.post_processor = processors.ByteLevel(trim_offsets=False)
    if bos:
        engine.post_processor = processors.Sequence([engine.post_processor, begins()])
    return engine


def begins():
    return processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", BOS)])


def sentencepiece(*, prefix):
    """A SentencePiece vocabulary as BPE: a mark for a space, bytes for letters it lacks."""
    letters = sorted({*"".join(CORPUS).replace("ï", "").replace("漢", ""), "\u2581"} - {" "})
    names = [*SPECIAL, *map(byte_name, range(256)), *letters]
    pairs = [("t", "h"), ("th", "e"), ("\u2581", "the"), ("\u2581", "\u2581")]
    names += [first + second for first, second in pairs]
    engine = Tokenizer(
        models.BPE(
            vocab={name: number for number, name in enumerate(names)},
            merges=pairs,
            unk_token="<unk>",
            fuse_unk=True,
            byte_fallback=True,
        )
    )
    spaces = normalizers.Replace(" ", "\u2581")
    engine.normalizer = (
        normalizers.Sequence([normalizers.Prepend("\u2581"), spaces]) if prefix else spaces
    )
    parts = [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()]
    engine.decoder = decoders.Sequence([*parts, decoders.Strip(" ", 1, 0)] if prefix else parts)
    engine.add_special_tokens([AddedToken(name, normalized=False) for name in SPECIAL])
    engine.post_processor = begins()
    return engine


def llama2():
    """The digit 1 is two tokens as a text: a space and the digit."""
    return sentencepiece(prefix=True)


def gemma3():
    """No space before a text; a token that users define."""
    engine = sentencepiece(prefix=False)
    engine.add_tokens([AddedToken("\n\n", normalized=False)])
    return engine


def llama3():
    """Up to three digits are one token; names of words are taken before merges."""
    engine = byte_level(r"\p{N}{1,3}", bos=True, ignore_merges=True)
    engine.add_tokens([AddedToken("<tool>", normalized=False)])
    return engine


def qwen3():
    """No token begins a text; letters are composed, and each digit stands alone."""
    engine = byte_level(r"\p{N}")
    engine.normalizer = normalizers.NFC()
    return engine


def deepseek():
    """Up to three digits are one token, and the post-processor begins no text."""
    return byte_level(r"\p{N}{1,3}")


KINDS = {each.__name__: each for each in (llama2, llama3, qwen3, gemma3, deepseek)}
CONFIGS = {
    "llama2": {"bos_token": "<bos>", "eos_token": "</s>", "add_bos_token": True},
    "llama3": {"bos_token": "<bos>", "eos_token": "</s>"},
    "qwen3": {"bos_token": None, "eos_token": "</s>", "pad_token": "<unk>"},
    "gemma3": {"bos_token": {"content": "<bos>", "lstrip": False}, "eos_token": "</s>"},
    "deepseek": {"bos_token": "<bos>", "eos_token": "</s>", "add_bos_token": False},
}


@functools.cache
def made(kind):
    return KINDS[kind]()


def folder_of(path, kind, **config):
    """A folder with the files of a tokenizer of that kind."""
    path.mkdir(exist_ok=True)
    made(kind).save(str(path / "tokenizer.json"))
    (path / "tokenizer_config.json").write_text(json.dumps(CONFIGS[kind] | config))
    return path
