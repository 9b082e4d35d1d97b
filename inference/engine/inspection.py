"""What an engine would make of a model, told from its small files, before there are any weights:
`python -m inference.engine.inspection FOLDER --weights BYTES …` prints one JSON object.

Kind, context and caches are those that the engine itself would find: it builds the model as it would to load it, but
MLX computes nothing that nobody looks at, so the weights are never made, and the shapes of what its caches would hold
are known all the same.
"""

import argparse
import contextlib
import json
import logging
import os
import sys
from pathlib import Path
from typing import Any

import mlx.core as mx
import msgspec
from mlx_lm.models.cache import make_prompt_cache
from mlx_lm.utils import _get_classes

from inference.engine import memory
from inference.engine.kinds import kind_of
from inference.engine.kv.capacity import capacity_for
from inference.engine.kv.layout import PROBE, Layout, NoLayout, layout_of
from inference.engine.model import context_length, own_code
from inference.engine.options import add_arguments, given, make, resolved
from inference.engine.protocol import ModelKind
from inference.engine.scheduling.memory import Memory
from inference.engine.traits import traits_of

DTYPES = {"float32": mx.float32, "float16": mx.float16, "bfloat16": mx.bfloat16}
VIDEO = ("video_token_id", "video_token_index")


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Memory, in bytes, as `memory.plan` shares it out."""

    limit: int
    """For models, of this machine."""
    weights: int
    reserve: int
    """For work in progress."""
    rows: int
    """For running requests."""
    prefix_cache: int
    sequence: int | None
    """One request of `tokens` takes so much; None where that can't be told before it is loaded."""
    tokens: int
    """Of prompt and answer, for which `sequences` are counted."""
    sequences: int | None
    """Requests of `tokens` that run at once."""
    longest: int | None
    """Tokens that one request can have, alone."""


class Findings(msgspec.Struct, frozen=True, kw_only=True):
    kind: ModelKind
    model_type: str
    architecture: str
    context_length: int
    modalities: list[str]
    quantisation: str
    """"4 bits, groups of 64", or the type of its numbers."""
    problems: list[str]
    """Why it can't be served; empty where nothing speaks against it."""
    plan: Plan


def inspect(folder: Path, weights: int, options: dict[str, Any], *, kind: str = "", tokens: int = 4096) -> Findings:
    """weights: bytes. Raises ValueError where the folder has no configuration that can be read, OptionError."""
    try:
        config = json.loads((folder / "config.json").read_text())
    except (OSError, ValueError) as error:
        raise ValueError(f"its config.json can't be read ({error})") from error
    if not isinstance(config, dict) or not isinstance(config.get("model_type"), str):
        raise ValueError("its config.json names no model_type")
    found: ModelKind = kind_of(str(folder)) if not kind else msgspec.convert(kind, ModelKind)
    problems = [reason] if (reason := own_code(folder)) else []
    layout: Layout | None = None
    if not problems:
        try:
            layout = layout_before_loading(config, found)
        except NoLayout:
            pass  # served, one request at a time
        except Exception as error:  # whatever a foreign configuration makes a model's class raise
            problems.append(_unsupported(config, found, error))
    context = context_length(config)
    return Findings(
        kind=found,
        model_type=config["model_type"],
        architecture=traits_of(config).architecture or "",
        context_length=context,
        modalities=_modalities(config, found),
        quantisation=_quantisation(config),
        problems=problems,
        plan=_plan(layout, weights, options, context, min(tokens, context)),
    )


def layout_before_loading(config: dict[str, Any], kind: ModelKind) -> Layout | None:
    """What the model's caches will hold; None for encoders, which have none. Raises NoLayout, and whatever a
    configuration that is not as it should be makes the model's class raise."""
    if kind in ("embedding", "reranker"):
        return None
    model = _seeing(config) if kind == "vision" else _speaking(config)
    parts = (config, config.get("text_config") or {})
    named = next((part[key] for part in parts for key in ("torch_dtype", "dtype") if part.get(key)), "float32")
    dtype = DTYPES.get(str(named), mx.bfloat16)
    model.update(_in(dtype, model.parameters()))
    if kind == "vision":
        from inference.engine.vision.speaker import Speaker

        model = Speaker(model)
    caches = make_prompt_cache(model)
    model(mx.arange(1, PROBE + 1, dtype=mx.int32)[None], cache=caches)
    return layout_of(caches)


def _speaking(config: dict[str, Any]) -> Any:
    classes = _get_classes(config)
    return classes[0](classes[1].from_dict(config))


def _seeing(config: dict[str, Any]) -> Any:
    # Seconds of imports, for these models only.
    from mlx_vlm.utils import get_model_and_args, update_module_configs

    config = dict(config)
    module, _ = get_model_and_args(config)
    config.setdefault("text_config", config.pop("llm_config", {}))
    config.setdefault("audio_config", {})
    shape = module.ModelConfig.from_dict(config)
    return module.Model(
        update_module_configs(shape, module, config, ["text", "vision", "perceiver", "projector", "audio"])
    )


def _in(dtype: mx.Dtype, tree: Any) -> Any:
    """Lazily, as all of it."""
    if isinstance(tree, dict):
        return {name: _in(dtype, part) for name, part in tree.items()}
    if isinstance(tree, list):
        return [_in(dtype, part) for part in tree]
    return tree.astype(dtype) if mx.issubdtype(tree.dtype, mx.floating) else tree


def _plan(layout: Layout | None, weights: int, values: dict[str, Any], context: int, tokens: int) -> Plan:
    effective = resolved(make(values))
    limit = memory.limit()
    budget = memory.plan(effective, weights, limit)
    known = layout is not None and (layout.token_bytes or layout.state_bytes)
    largest = context + 2

    def bytes_of(count: int) -> int:
        assert layout is not None
        return layout.row_bytes(capacity_for(min(count, largest), largest))

    sequence = bytes_of(tokens) if known else None
    return Plan(
        limit=limit,
        weights=weights,
        reserve=int(limit * memory.RESERVE),
        rows=budget.rows,
        prefix_cache=budget.cache,
        sequence=sequence,
        tokens=tokens,
        sequences=min(effective.rows, budget.rows // sequence) if sequence else None,
        longest=min(context, Memory(budget.rows, bytes_of).longest()) if known else None,
    )


def _modalities(config: dict[str, Any], kind: ModelKind) -> list[str]:
    if kind != "vision":
        return ["text"]
    found = ["text", "image"]
    if any(config.get(name) is not None for name in VIDEO):
        found.append("video")
    return [*found, "audio"] if config.get("audio_config") else found


def _quantisation(config: dict[str, Any]) -> str:
    for part in (config, config.get("text_config") or {}):
        said = part.get("quantization") or part.get("quantization_config")
        if isinstance(said, dict):
            bits, group = said.get("bits"), said.get("group_size")
            way = said.get("quant_method") or said.get("mode") or ""
            words = [f"{bits} bits" if bits else "", f"groups of {group}" if group else "", str(way)]
            return ", ".join(filter(None, words)) or "quantised"
        if named := part.get("torch_dtype") or part.get("dtype"):
            return str(named)
    return "not known"


def _unsupported(config: dict[str, Any], kind: ModelKind, error: Exception) -> str:
    by = "mlx-vlm" if kind == "vision" else "mlx-lm"
    if "not supported" in str(error):
        return f"the installed {by} knows no models of the type {config['model_type']}"
    return f"{by} can't make a model of its config.json ({type(error).__name__}: {str(error)[:200]})"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="inference.engine.inspection", description=__doc__, allow_abbrev=False)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--weights", type=int, required=True, help="bytes")
    parser.add_argument("--kind", default="")
    parser.add_argument("--tokens", type=int, default=4096, help="of a request, for the count of those that fit")
    add_arguments(parser)
    arguments = parser.parse_args(argv)
    # Foreign code may print.
    with contextlib.redirect_stdout(sys.stderr):
        logging.disable(logging.CRITICAL)
        try:
            found: Any = msgspec.to_builtins(
                inspect(arguments.folder, arguments.weights, given(vars(arguments)), kind=arguments.kind,
                        tokens=arguments.tokens)
            )  # fmt: skip
        except ValueError as error:
            found = {"error": str(error)}
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    # Nothing that was made is worth an orderly end, least of all arrays that were never computed.
    os._exit(code)
