"""A model that sees or hears as mlx-vlm runs it, one row at a time: a prompt is embedded whole, by the model's own
code, and goes through its language model at once, into its own caches."""

from typing import Any

import mlx.core as mx
from mlx_vlm.models.cache import make_prompt_cache

from inference.engine.vision.features import Given
from inference.engine.vision.whole import Whole, given_back

MEMORIES = ("_position_ids", "_rope_deltas")
"""Of the last prompt, which some language models keep for the tokens that follow."""
HANDED_ON = ("cross_attention_states", "encoder_outputs")
"""Of a prompt's output, which its next tokens need."""


class RowCaches(list[Any]):
    """One row's caches, and all else that its next token depends on."""

    def __init__(self, caches: list[Any]):
        super().__init__(caches)
        self.begun = False
        self.handed_on: dict[str, mx.array] = {}
        self.memories: dict[str, Any] = {}


class SoloSpeaker:
    whole = True
    """Prompts are prefilled in one piece, the last token included."""

    def __init__(self, model: Any):
        self.model = model
        self.language = model.language_model

    def __call__(self, tokens: mx.array, cache: Any = None, given: Given | None = None) -> mx.array:
        """tokens int32 [1, tokens] -> logits [1, at most as many, vocab]. Caches are of `make_cache`; what is fed to
        new ones is a prompt, and what was said of its answer before, if that was begun elsewhere."""
        caches = RowCaches(self.make_cache()) if cache is None else cache
        for name in MEMORIES:
            if hasattr(self.language, name):
                setattr(self.language, name, caches.memories.get(name))
        if caches.begun:
            logits = self._step(tokens, caches, caches.handed_on)
        else:
            logits = self._begin(tokens, caches, None if given is None else given.whole)
        caches.memories = {name: getattr(self.language, name) for name in MEMORIES if hasattr(self.language, name)}
        return logits

    def _begin(self, tokens: mx.array, caches: RowCaches, whole: Whole | None) -> mx.array:
        caches.begun = True
        length = tokens.shape[1] if whole is None else whole.length
        inputs = {} if whole is None else {name: given_back(value) for name, value in whole.inputs.items()}
        ids = inputs.pop("input_ids", tokens)
        pixels, mask = inputs.pop("pixel_values", None), inputs.pop("attention_mask", None)
        made = self.model.get_input_embeddings(ids, pixels, mask=mask, **inputs).to_dict()
        inputs |= {name: value for name, value in made.items() if value is not None}
        logits = self._step(ids, caches, inputs)
        if tokens.shape[1] > length:
            logits = self._step(tokens[:, length:], caches, caches.handed_on)
        return logits

    def _step(self, tokens: mx.array, caches: RowCaches, more: dict[str, Any]) -> mx.array:
        fed = () if "decoder_input_ids" in more else (tokens,)
        answer = self.language(*fed, cache=caches, **more)
        found = {name: getattr(answer, name, None) for name in HANDED_ON}
        caches.handed_on = {name: value for name, value in found.items() if value is not None}
        logits: mx.array = answer.logits
        return logits

    # What the engine and mlx-lm ask of a model.

    def make_cache(self) -> RowCaches:
        return RowCaches(make_prompt_cache(self.language))

    @property
    def layers(self) -> Any:
        return self.language.layers

    def named_modules(self) -> Any:
        return self.language.named_modules()

    def parameters(self) -> Any:
        return self.language.parameters()
