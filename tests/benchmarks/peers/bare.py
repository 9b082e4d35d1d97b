"""How fast a library's own loop decodes, without a server: what its server could reach at best.

Runs in the library's environment, which has nothing of ours:
`python bare.py {mlx_lm,mlx_vlm} MODEL COUNT TOKENS < prompts.json` prints tokens per second. A count of 1 is the
library's generate loop, more are its BatchGenerator. Only decoding counts, from when every row has its first token.
"""

import importlib
import json
import sys
from time import perf_counter


def main(library, folder, count, tokens, prompts):
    package = importlib.import_module(library)
    model, tokenizer = package.load(folder)
    run = alone if count == 1 else batched
    run(library, model, tokenizer, prompts, 8)
    return run(library, model, tokenizer, prompts, tokens)


def alone(library, model, tokenizer, prompts, tokens):
    generate = importlib.import_module(library).stream_generate
    # mlx-vlm encodes a text itself, and takes ids as an array.
    given = {"prompt": prompts[0]}
    if library == "mlx_vlm":
        mx = importlib.import_module("mlx.core")
        given = {"prompt": "", "input_ids": mx.array([prompts[0]])}
    first, made = 0.0, 0
    for _ in generate(model, tokenizer, max_tokens=tokens, **given):
        made += 1
        first = first or perf_counter()
        last = perf_counter()
    # Some libraries end with a response that has no token of its own.
    return (min(made, tokens) - 1) / (last - first)


def batched(library, model, tokenizer, prompts, tokens):
    generator_class = importlib.import_module(f"{library}.generate").BatchGenerator
    sizes = {"completion_batch_size": len(prompts), "prefill_batch_size": len(prompts)}
    if library == "mlx_vlm":
        language = getattr(model, "language_model", model)
        generator = generator_class(language, tokenizer, compute_logprobs=False, greedy_sampling=True, **sizes)
    else:
        generator = generator_class(model, **sizes)
    given = {}
    if library == "mlx_vlm":
        # Its generator takes embedded prompts, as its server hands them over.
        mx = importlib.import_module("mlx.core")
        embedded = [model.get_input_embeddings(mx.array([prompt]), None).to_dict() for prompt in prompts]
        given["prompt_kwargs"] = [{key: value for key, value in each.items() if value is not None} for each in embedded]
    generator.insert(prompts, [tokens] * len(prompts), **given)
    made = dict.fromkeys(range(len(prompts)), 0)
    began, before = 0.0, 0
    while min(made.values()) < tokens:
        for response in generator.next()[1]:
            made[response.uid % len(prompts)] += 1
        if not began and min(made.values()) > 0:
            began, before = perf_counter(), sum(made.values())
    return (sum(made.values()) - before) / (perf_counter() - began)


if __name__ == "__main__":
    name, path, rows, length = sys.argv[1:]
    print(json.dumps({"rate": main(name, path, int(rows), int(length), json.load(sys.stdin))}))
