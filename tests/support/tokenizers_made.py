"""Small tokenizers of the three kinds that published models have, made from a few sentences."""

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
SENTENCES = [
    "The quick brown fox jumps over the lazy dog, again and again.",
    "Ça va très bien, merci; grüß Gott und schöne Straße!",
    "def main():\n    return [x * 2 for x in range(10)]\n",
    "日本語の文章もあります。 こんにちは世界 👩‍🚀🚀",
] * 3


def byte_level() -> PreTrainedTokenizerFast:
    """GPT-2's, Llama 3's and Qwen's kind: characters are split into bytes."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return _trained(tokenizer, initial_alphabet=pre_tokenizers.ByteLevel.alphabet())


def metaspace() -> PreTrainedTokenizerFast:
    """T5's kind: words begin with a ▁, and the first one's is dropped."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    return _trained(tokenizer, more=["<unk>"])


def byte_fallback() -> PreTrainedTokenizerFast:
    """Llama 2's, Mistral's and Gemma's kind: a character without a token of its own is spelt in bytes."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return _trained(tokenizer, more=["<unk>"], sentences=SENTENCES[:2] * 3, bytes_too=True)


def _trained(
    tokenizer: Tokenizer,
    *,
    more: list[str] | None = None,
    sentences: list[str] = SENTENCES,
    bytes_too: bool = False,
    initial_alphabet: list[str] | None = None,
) -> PreTrainedTokenizerFast:
    trainer = trainers.BpeTrainer(
        vocab_size=700,
        special_tokens=[*SPECIAL, *(more or [])],
        initial_alphabet=initial_alphabet or [],
        show_progress=False,
    )
    tokenizer.train_from_iterator(sentences, trainer)
    if bytes_too:
        tokenizer.add_tokens([f"<0x{value:02X}>" for value in range(256)])
        tokenizer = _with_byte_tokens(tokenizer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|im_end|>")


def _with_byte_tokens(tokenizer: Tokenizer) -> Tokenizer:
    """The same tokenizer with <0x00> … <0xFF> in the model's own vocabulary, where byte fallback looks for them."""
    import json

    content = json.loads(tokenizer.to_str())
    added = [token for token in content["added_tokens"] if token["content"].startswith("<0x")]
    content["added_tokens"] = [token for token in content["added_tokens"] if token not in added]
    content["model"]["vocab"].update({token["content"]: token["id"] for token in added})
    return Tokenizer.from_str(json.dumps(content))
