"""What a model's configuration says of it."""

from typing import Any

from inference.engine.protocol import Traits


def traits_of(config: dict[str, Any], *, tools: str | None = None, reasoning: str | None = None) -> Traits:
    """Of the configuration, and of the parsers that go with the model."""
    architectures = config.get("architectures") or [None]
    return Traits(
        model_type=config.get("model_type"),
        architecture=architectures[0],
        positions=positions(config),
        tools=tools,
        reasoning=reasoning,
    )


def positions(config: dict[str, Any]) -> int | None:
    """The longest context that it is made for, in tokens; None where it names none. Multimodal ones nest it."""
    for part in (config, config.get("text_config") or {}):
        for key in ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "model_max_length"):
            if isinstance(part.get(key), int) and part[key] > 0:
                return int(part[key])
    return None
