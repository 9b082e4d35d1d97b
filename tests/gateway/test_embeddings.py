"""Embeddings and reranking as OpenAI's SDK and plain HTTP clients see them: one Atelier with a chat model, an embedding
model and two rerankers."""

import base64
import json
import re
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import openai
import pytest

from tests.support.encoders_made import CONTEXT, library_scores, library_vectors, make_embedder, make_reranker
from tests.support.server import ROOT, Server

EMBEDDINGS, RERANK, CHAT = "/v1/embeddings", "/v1/rerank", "/v1/chat/completions"
TEXTS = ["The quick brown fox", "a", "Ça va très bien, merci", "again and again"]
ROUNDING = 2e-6
TOO_LONG = "x y z " * 60


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    return {
        "embedder": make_embedder(folder / "embedder", "qwen3"),
        "ranker": make_reranker(folder / "ranker"),
        "judge": make_reranker(folder / "judge", "qwen3"),
    }


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, folders: dict[str, Path]) -> Iterator[Server]:
    """The chat model is the one that `serve` brings where none is named."""
    arguments = ["--embedding-model", str(folders["embedder"])]
    arguments += ["--reranker-model", str(folders["ranker"]), "--reranker-model", str(folders["judge"])]
    with Server(tmp_path_factory.mktemp("served"), *arguments) as running:
        yield running


@pytest.fixture
def sdk(served: Server) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{served.base_url}/v1", api_key=served.key, max_retries=0)


@pytest.fixture
def http(served: Server) -> Iterator[httpx.Client]:
    with served.client() as client:
        yield client


@pytest.fixture(scope="module")
def expected(folders: dict[str, Path]) -> np.ndarray:
    return library_vectors(folders["embedder"], TEXTS)


# --- embeddings ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", [{}, {"encoding_format": "float"}, {"encoding_format": "base64"}])
def test_vectors_through_the_sdk(
    served: Server, sdk: openai.OpenAI, expected: np.ndarray, form: dict[str, Any]
) -> None:
    """Without a form, the SDK asks for base64 and decodes it."""
    before = len(served.ledger())
    made = sdk.embeddings.create(model="embedder", input=TEXTS, **form)
    assert (made.object, made.model) == ("list", "embedder")
    assert [each.index for each in made.data] == [0, 1, 2, 3]
    assert {each.object for each in made.data} == {"embedding"}
    vectors = [each.embedding for each in made.data]
    if form.get("encoding_format") == "base64":
        vectors = [np.frombuffer(base64.b64decode(each), "<f4").tolist() for each in vectors]  # type: ignore[arg-type]
    assert np.abs(np.array(vectors) - expected).max() < ROUNDING
    assert made.usage.prompt_tokens == made.usage.total_tokens > len(TEXTS)
    [row] = served.settled(before, 1)
    assert (row["endpoint"], row["model"], row["state"], row["outcome"]) == (
        "embeddings",
        "embedder",
        "settled",
        "stop",
    )
    assert row["prompt_tokens"] == made.usage.prompt_tokens and row["completion_tokens"] == 0
    assert row["engine_seconds"] > 0 and row["duration_ms"] >= row["queue_ms"] >= 0 and row["ttft_ms"] is None


def test_a_batch_of_them(sdk: openai.OpenAI) -> None:
    line = {"custom_id": "a", "method": "POST", "url": EMBEDDINGS, "body": {"model": "embedder", "input": TEXTS}}
    file = sdk.files.create(file=("in.jsonl", json.dumps(line).encode()), purpose="batch")
    batch = sdk.batches.create(input_file_id=file.id, endpoint=EMBEDDINGS, completion_window="24h")
    deadline = time.monotonic() + 60
    while batch.status != "completed":
        assert time.monotonic() < deadline, batch
        time.sleep(0.1)
        batch = sdk.batches.retrieve(batch.id)
    [answer] = sdk.files.content(batch.output_file_id or "").text.splitlines()
    said = json.loads(answer)["response"]["body"]
    assert len(said["data"]) == len(TEXTS)
    assert batch.usage and batch.usage.input_tokens == said["usage"]["prompt_tokens"] > 0


def test_the_answer_is_openais_to_the_key(http: httpx.Client) -> None:
    answer = http.post(EMBEDDINGS, json={"model": "embedder", "input": "a"})
    said = answer.json()
    assert list(said) == ["object", "data", "model", "usage"]
    assert list(said["data"][0]) == ["object", "index", "embedding"]
    assert list(said["usage"]) == ["prompt_tokens", "total_tokens"]
    assert answer.headers["x-request-id"] and float(answer.headers["x-queue-ms"]) >= 0
    assert "x-ignored-parameters" not in answer.headers
    raw = http.post(EMBEDDINGS, json={"model": "embedder", "input": "a", "encoding_format": "base64"}).json()
    vector = base64.b64decode(raw["data"][0]["embedding"])
    assert list(struct.unpack(f"<{len(vector) // 4}f", vector)) == said["data"][0]["embedding"]


def test_one_text_token_ids_and_lists_of_them(http: httpx.Client, folders: dict[str, Path]) -> None:
    from transformers import AutoTokenizer

    ids = AutoTokenizer.from_pretrained(folders["embedder"])(TEXTS[0])["input_ids"]
    [expected] = library_vectors(folders["embedder"], TEXTS[:1])
    for given, count in ((TEXTS[0], 1), (ids, 1), ([ids, ids], 2), ([TEXTS[0], ids], 2)):
        said = http.post(EMBEDDINGS, json={"model": "embedder", "input": given}).json()
        assert len(said["data"]) == count and said["usage"]["prompt_tokens"] == len(ids) * count
        assert all(np.abs(np.array(each["embedding"]) - expected).max() < ROUNDING for each in said["data"])


def test_fewer_dimensions(sdk: openai.OpenAI, expected: np.ndarray) -> None:
    made = sdk.embeddings.create(model="embedder", input=TEXTS, dimensions=16)
    short = expected[:, :16] / np.linalg.norm(expected[:, :16], axis=1, keepdims=True)
    assert np.abs(np.array([each.embedding for each in made.data]) - short).max() < ROUNDING


def test_two_thousand_inputs_beside_small_ones(sdk: openai.OpenAI, expected: np.ndarray) -> None:
    with ThreadPoolExecutor(4) as pool:
        large = pool.submit(sdk.embeddings.create, model="embedder", input=["again and again"] * 2048)
        small = [pool.submit(sdk.embeddings.create, model="embedder", input=TEXTS[at]) for at in range(3)]
        for at, made in enumerate(small):
            assert np.abs(np.array(made.result().data[0].embedding) - expected[at]).max() < ROUNDING
        vectors = np.array([each.embedding for each in large.result().data])
    assert vectors.shape == (2048, expected.shape[1]) and np.abs(vectors - expected[3]).max() < ROUNDING


def test_whoever_goes_away_is_charged_for_what_was_computed(served: Server, http: httpx.Client) -> None:
    before = len(served.ledger())
    with pytest.raises(httpx.ReadTimeout):
        http.post(EMBEDDINGS, json={"model": "embedder", "input": ["x y z " * 12] * 2048}, timeout=0.5)
    [row] = served.settled(before, 1)
    whole = http.post(EMBEDDINGS, json={"model": "embedder", "input": "x y z " * 12}).json()["usage"]["prompt_tokens"]
    assert row["outcome"] == "disconnected"
    assert row["prompt_tokens"] < 2048 * whole and row["prompt_tokens"] % whole == 0


def test_fields_without_effect_are_named(http: httpx.Client) -> None:
    body = {"model": "embedder", "input": "a", "user": "me", "input_type": "query"}
    answer = http.post(EMBEDDINGS, json=body)
    assert answer.status_code == 200 and answer.headers["x-ignored-parameters"] == "user, input_type"


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"input": None}, "input", None),
        ({"input": ""}, "input", None),
        ({"input": []}, "input", None),
        ({"input": ["a", ""]}, "input[1]", None),
        ({"input": ["a", 3]}, "input[1]", None),
        ({"input": [3, "a"]}, "input[1]", None),
        ({"input": [[1], []]}, "input[1]", None),
        ({"input": [[1], [-1]]}, "input[1][0]", None),
        ({"input": {"text": "a"}}, "input", None),
        ({"input": ["a"] * 2049}, "input", None),
        ({"input": [[1], [10**6]]}, "input[1]", "invalid_prompt"),
        ({"input": ["a", TOO_LONG]}, "input[1]", "context_length_exceeded"),
        ({"input": TOO_LONG}, "input", "context_length_exceeded"),
        ({"dimensions": 0}, "dimensions", None),
        ({"dimensions": 65}, "dimensions", "invalid_prompt"),
        ({"dimensions": "8"}, "dimensions", None),
        ({"encoding_format": "int8"}, "encoding_format", None),
        ({"model": None}, "model", None),
        ({"user": 3}, "user", None),
    ],
)
def test_what_can_not_be_embedded(http: httpx.Client, fields: dict[str, Any], param: str, code: str | None) -> None:
    answer = http.post(EMBEDDINGS, json={"model": "embedder", "input": "a", **fields})
    error = answer.json()["error"]
    assert (answer.status_code, error["param"], error["code"]) == (400, param, code), error
    assert param in error["message"] and error["type"] == "invalid_request_error"
    assert "x y z" not in error["message"], "no text of the prompt in an error"


def test_a_refused_input_is_in_the_ledger_and_costs_nothing(served: Server, http: httpx.Client) -> None:
    before = len(served.ledger())
    error = http.post(EMBEDDINGS, json={"model": "embedder", "input": ["a", TOO_LONG]}).json()["error"]
    assert str(CONTEXT) in error["message"]
    [row] = served.settled(before, 1)
    assert (row["outcome"], row["prompt_tokens"], row["engine_seconds"]) == ("refused", 0, 0)


# --- rerank ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["ranker", "judge"])
def test_documents_are_ranked(served: Server, http: httpx.Client, folders: dict[str, Path], model: str) -> None:
    before = len(served.ledger())
    body = {"model": model, "query": "quick fox?", "documents": TEXTS, "return_documents": True}
    said = http.post(RERANK, json=body).json()
    scores = library_scores(folders[model], "quick fox?", TEXTS)
    assert list(said) == ["id", "model", "results", "usage"]
    assert said["id"].startswith("rerank-") and said["model"] == model
    assert [each["index"] for each in said["results"]] == sorted(range(4), key=lambda at: -scores[at])
    for each in said["results"]:
        assert abs(each["relevance_score"] - scores[each["index"]]) < ROUNDING
        assert each["document"] == {"text": TEXTS[each["index"]]}
    assert said["usage"]["total_tokens"] == said["usage"]["prompt_tokens"] > 0
    [row] = served.settled(before, 1)
    assert (row["endpoint"], row["model"], row["outcome"]) == ("rerank", model, "stop")
    assert row["prompt_tokens"] == said["usage"]["prompt_tokens"]


def test_the_best_only(http: httpx.Client) -> None:
    body = {"model": "ranker", "query": "fox", "documents": [{"text": text, "title": "x"} for text in TEXTS]}
    whole = http.post(RERANK, json=body)
    assert whole.headers["x-ignored-parameters"] == "documents.title"
    best = http.post(RERANK, json={**body, "top_n": 2}).json()["results"]
    assert best == whole.json()["results"][:2] and list(best[0]) == ["index", "relevance_score"]
    assert len(http.post(RERANK, json={**body, "top_n": 99}).json()["results"]) == 4


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"query": None}, "query", None),
        ({"query": " "}, "query", None),
        ({"documents": []}, "documents", None),
        ({"documents": "a"}, "documents", None),
        ({"documents": ["a"] * 2049}, "documents", None),
        ({"documents": ["a", " "]}, "documents[1]", None),
        ({"documents": ["a", {"text": ""}]}, "documents[1]", None),
        ({"documents": ["a", {"title": "b"}]}, "documents[1].text", None),
        ({"documents": ["a", 3]}, "documents[1]", None),
        ({"documents": ["a", TOO_LONG]}, "documents[1]", "context_length_exceeded"),
        ({"top_n": 0}, "top_n", None),
        ({"return_documents": "yes"}, "return_documents", None),
        ({"max_tokens_per_doc": 10}, "max_tokens_per_doc", None),
        ({"rank_fields": ["title"]}, "rank_fields", None),
    ],
)
def test_what_can_not_be_ranked(http: httpx.Client, fields: dict[str, Any], param: str, code: str | None) -> None:
    body = {"model": "ranker", "query": "fox", "documents": ["a"], **fields}
    answer = http.post(RERANK, json=body)
    error = answer.json()["error"]
    assert answer.status_code == 400, error
    assert (error["param"], error["code"]) == (param, code), error


# --- which model does what -------------------------------------------------------------------------------------------


def test_the_catalogue_tells_the_kinds(http: httpx.Client) -> None:
    models = {model["id"]: model for model in http.get("/v1/models").json()["data"]}
    kinds = {name: model["kind"] for name, model in models.items()}
    assert kinds == {"atelier-tiny": "text", "embedder": "embedding", "ranker": "reranker", "judge": "reranker"}
    assert models["embedder"]["context_length"] == CONTEXT and models["embedder"]["state"] == "ready"
    assert all(model["batching"] == "batched" for model in models.values())


@pytest.mark.parametrize(
    ("path", "model", "names"),
    [
        (EMBEDDINGS, "atelier-tiny", "`embedding`"),
        (EMBEDDINGS, "ranker", "`embedding`"),
        (RERANK, "embedder", "`reranker`"),
        (RERANK, "default", "`reranker`"),
        (CHAT, "embedder", "`text`"),
        (CHAT, "judge", "`text`"),
        ("/v1/completions", "ranker", "`text`"),
    ],
)
def test_a_model_of_another_kind_is_a_400(http: httpx.Client, path: str, model: str, names: str) -> None:
    asked = {
        EMBEDDINGS: {"input": "a"},
        RERANK: {"query": "a", "documents": ["b"]},
        CHAT: {"messages": [{"role": "user", "content": "a"}], "max_tokens": 3},
        "/v1/completions": {"prompt": "a", "max_tokens": 3},
    }[path]
    answer = http.post(path, json={"model": model, **asked})
    error = answer.json()["error"]
    assert (answer.status_code, error["param"], error["code"]) == (400, "model", "unsupported_model")
    assert names in error["message"] and model.replace("default", "atelier-tiny") in error["message"]


@pytest.mark.parametrize("path", [EMBEDDINGS, RERANK])
def test_keys_methods_and_unknown_models(served: Server, http: httpx.Client, path: str) -> None:
    body = {"model": "nobody", "input": "a", "query": "a", "documents": ["b"]}
    assert http.post(path, json=body).json()["error"]["code"] == "model_not_found"
    assert http.get(path).status_code == 405
    assert httpx.post(served.base_url + path, json=body).json()["error"]["code"] == "invalid_api_key"
    assert http.post(path, content=b"{").status_code == 400


def test_the_chat_model_is_still_there(sdk: openai.OpenAI) -> None:
    done = sdk.chat.completions.create(model="default", messages=[{"role": "user", "content": "Hello!"}], max_tokens=5)
    assert done.choices[0].message.content


def test_the_example_of_the_documentation_runs(served: Server) -> None:
    [code] = re.findall(r"```py\n(.*?)```", (ROOT / "docs/embeddings.md").read_text(), re.S)
    code = code.replace("http://localhost:8000", served.base_url).replace("sk-atelier-…", served.key)
    code = code.replace("my-embedder", "embedder")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("2 32 ")
