"""The OpenAPI document describes what the live server does: schemathesis asks, hypothesis chooses what."""

import contextlib
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import schemathesis
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.settings import patched_settings
from drf_spectacular.validation import validate_schema
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from gateway import errors
from gateway.schema.document import gateway_document, routes
from gateway.schema.examples import BATCHES, CHAT, FILES
from gateway.schema.operations import OPERATIONS
from gateway.schema.statuses import REFUSALS
from inference.sources import DEFAULT_MODEL
from tests.support.audio_made import make_pocket, make_whisper
from tests.support.browser import chromium_page
from tests.support.encoders_made import make_embedder, make_reranker
from tests.support.server import Server

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
POSITIVE, NEGATIVE = GenerationMode.POSITIVE, GenerationMode.NEGATIVE
"""Requests that the document allows, and those that it does not."""
CHOOSING = settings(
    max_examples=40, derandomize=True, database=None, deadline=None, phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
SHORT = 8
"""Tokens of an answer: what is generated here is not the point."""
LIMITS = ("max_tokens", "max_completion_tokens", "max_output_tokens")
LABELS = [f"{method.upper()} {path}" for path, methods in gateway_document()[0].items() for method in methods]
NEVER_GIVEN = {"POST /v1/responses/{id}/cancel"}
"""Operations that only ever refuse."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One that has a model for every endpoint, and says little where a request sets no limit."""
    folder = tmp_path_factory.mktemp("served")
    models = [
        DEFAULT_MODEL,
        make_embedder(folder / "embedder"),
        make_reranker(folder / "reranker"),
        make_whisper(folder / "transcriber"),
        make_pocket(folder / "talker"),
    ]
    with Server(folder / "data", *map(str, models), ATELIER_DEFAULT_MAX_TOKENS=str(SHORT)) as running:
        yield running


@pytest.fixture(scope="module")
def document(server: Server) -> dict[str, Any]:
    """As anyone may read it, without a key."""
    answer = httpx.get(f"{server.base_url}/openapi.json")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    found: dict[str, Any] = answer.json()
    return found


@pytest.fixture(scope="module")
def schema(server: Server, document: dict[str, Any]) -> Any:
    return schemathesis.openapi.from_dict(document)


# --- the document ----------------------------------------------------------------------------------------------------


def test_it_is_openapi(document: dict[str, Any]) -> None:
    assert document["openapi"] == "3.1.1"
    validate_schema(document)


def test_every_path_of_the_gateway_has_its_operations() -> None:
    """One that is missing: add it to gateway/schema/operations."""
    routed = {(consumer, method) for _, consumer in routes() for method in consumer.methods if method != "HEAD"}
    described = [(operation.consumer, operation.method) for operation in OPERATIONS]
    assert set(described) == routed
    assert len(described) == len(routed)


def test_names_are_unique() -> None:
    names = [operation.name for operation in OPERATIONS]
    assert len(set(names)) == len(names)


def test_the_management_api_is_in_it(document: dict[str, Any]) -> None:
    paths = {path: set(said) & {"get", "post", "patch", "delete"} for path, said in document["paths"].items()}
    assert paths["/api/keys/"] == {"get", "post"} and paths["/api/quotas/{id}"] == {"get", "patch", "delete"}
    issue = document["paths"]["/api/keys/"]["post"]
    assert issue["operationId"] == "issueKey"
    assert issue["security"] == [{"bearer": []}, {"x-api-key": []}, {"session": []}]
    assert {"201", "400", "401", "403", "404"} == set(issue["responses"])
    ids = [said["operationId"] for methods in document["paths"].values() for said in methods.values()]
    assert len(set(ids)) == len(ids)


def test_no_component_hides_another() -> None:
    """Django's views and the gateway name theirs by themselves; where both choose one name, one would be lost."""
    with patched_settings({"POSTPROCESSING_HOOKS": []}):
        of_views = SchemaGenerator().get_schema(public=True)["components"]
    _, of_gateway = gateway_document()
    assert of_views["schemas"] and not set(of_views["schemas"]) & set(of_gateway["schemas"])
    assert set(of_views["securitySchemes"]) >= set(of_gateway["securitySchemes"])


def test_constraints_are_those_that_validate(document: dict[str, Any]) -> None:
    def field(component: str, name: str) -> dict[str, Any]:
        found: dict[str, Any] = document["components"]["schemas"][component]["properties"][name]
        return found["anyOf"][0] if "anyOf" in found else found

    assert field("ChatRequest", "temperature") == {"type": "number", "minimum": 0, "maximum": 2}
    assert field("ChatRequest", "messages")["minItems"] == 1
    assert field("ChatRequest", "stop") == {"type": "string"}
    assert field("ChatRequest", "metadata")["maxProperties"] == 16
    assert "minimal" in field("ChatRequest", "reasoning_effort")["enum"]
    assert field("ToolsFunction", "name")["pattern"]


def test_descriptions_come_from_the_source(document: dict[str, Any]) -> None:
    described = document["components"]["schemas"]["ChatRequest"]["properties"]["top_k"]["description"]
    assert described == "0 and -1: all tokens."


def test_what_answers_always_have_is_required_of_them(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    assert {"object", "system_fingerprint"} <= set(schemas["ChatAnswersCompletion"]["required"])
    assert "service_tier" not in schemas["ChatAnswersCompletion"]["required"]
    assert schemas["ChatRequest"]["required"] == ["model", "messages"]


def test_every_error_has_a_description() -> None:
    made = [
        errors.invalid(""), errors.invalid_api_key(), errors.model_not_found(""), errors.method_not_allowed("", ""),
        errors.request_too_large(1), errors.cancelled(by="owner"), errors.engine_error(), errors.internal(""),
        errors.overloaded(""), errors.model_loading("", 5), errors.draining(), errors.gateway_silent(),
        errors.timeout(""), errors.maintenance("", None),
    ]  # fmt: skip
    for status in {error.status for error in made}:
        # Some have a header that others of their status have no use for.
        headers = {name for error in made if error.status == status for name in error.headers}
        assert set(REFUSALS[status].headers) == headers, status


# --- the server ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("label", LABELS)
def test_the_server_does_what_the_document_says(server: Server, schema: Any, label: str) -> None:
    operation = schema.find_operation_by_label(label)
    statuses: set[int] = set()

    def ask(case: Any) -> None:
        answer = case.call_and_validate(
            base_url=server.base_url, headers={"authorization": f"Bearer {server.key}"}, checks=CHECKS, timeout=60
        )
        statuses.add(answer.status_code)

    for body in examples(operation):
        with known(server, label) as path:
            ask(operation.Case(path_parameters=path, **filled(server, body)))
    assert 200 in statuses or label in NEVER_GIVEN, statuses

    @given(st.data())
    def chosen(data: st.DataObject) -> None:
        mode, path = data.draw(st.sampled_from(modes)), data.draw(st.sampled_from(paths))
        case = data.draw(operation.as_strategy(mode, path_parameters=path))
        ask(tame(case, helped=mode is POSITIVE and data.draw(st.booleans())))

    with known(server, label) as path:
        # Both such as there are and any other.
        paths = [path, None]
        modes = [POSITIVE, POSITIVE, NEGATIVE] if operation.body or operation.query else [POSITIVE]
        CHOOSING(chosen)()


def examples(operation: Any) -> list[dict[str, Any]]:
    """Arguments of cases: one for each body that the document shows, or one with the query it shows."""
    raw = operation.definition.raw
    content = raw.get("requestBody", {"content": {}})["content"]
    query = {said["name"]: said["example"] for said in raw["parameters"] if "example" in said}
    return [
        {"body": example["value"], "media_type": media_type}
        for media_type, said in content.items()
        for example in said["examples"].values()
    ] or [{"query": query} if query else {}]


@contextlib.contextmanager
def known(server: Server, label: str) -> Iterator[dict[str, str]]:
    """Parameters of the path that lead somewhere."""
    with server.client() as client:
        if "{model}" in label:
            yield {"model": "default"}
        elif "/v1/responses/{id}" in label:
            made = client.post("/v1/responses", json={"model": "default", "input": "Hi", "max_output_tokens": SHORT})
            yield {"id": made.json()["id"]}
        elif "/v1/requests/{id}" in label:
            with client.stream("POST", "/v1/chat/completions", json=endless(), headers={"x-request-id": "to-cancel"}):
                yield {"id": "to-cancel"}
        elif "/v1/files/{id}" in label:
            yield {"id": uploaded(client)}
        elif "/v1/batches/{id}" in label:
            body = {**BATCHES["chat"], "input_file_id": uploaded(client)}
            yield {"id": client.post("/v1/batches", json=body).json()["id"]}
        else:
            yield {}


def filled(server: Server, arguments: dict[str, Any]) -> dict[str, Any]:
    """With the id of a file that there is, where the example could only show what one looks like."""
    body = arguments.get("body", {})
    if "input_file_id" not in body:
        return arguments
    with server.client() as client:
        return {**arguments, "body": {**body, "input_file_id": uploaded(client)}}


def uploaded(client: httpx.Client) -> str:
    """The id of a file that a batch can be made of."""
    form = FILES["requests"]
    made = client.post("/v1/files", data={"purpose": form["purpose"]}, files={"file": ("a.jsonl", form["file"])})
    return str(made.json()["id"])


def endless() -> dict[str, Any]:
    """Says a few tokens at random: a text that repeats itself is ended (--repetition-policy)."""
    few = {str(token): 100 for token in range(300, 332)}
    return {**CHAT["streamed"], "logit_bias": few, "temperature": 2, "max_tokens": 8000}


def tame(case: Any, *, helped: bool) -> Any:
    """The case, for a model that there is, and with a short answer. helped: what is asked comes from an example, so
    that the other fields are looked at too."""
    body = case.body
    if isinstance(body, dict) and "body" in examples(case.operation)[0]:
        example = examples(case.operation)[0]["body"]
        if isinstance(body.get("model"), str):
            body["model"] = example["model"]
        if helped:
            body.update(example)
        for name, value in body.items():
            # To JSON Schema 4.0 is an integer; to us it is not.
            if isinstance(value, float) and value.is_integer():
                body[name] = value = int(value)
            if name in LIMITS and isinstance(value, int) and value > SHORT:
                body[name] = SHORT
    return case


# --- the pages -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("phone", [False, True], ids=["desktop", "phone"])
@pytest.mark.parametrize(
    ("path", "shows"),
    [("api", "[data-path='/v1/chat/completions']"), ("redoc", "h2:has-text('A conversation in, an answer out')")],
)
def test_the_pages_show_the_api_without_the_web(server: Server, path: str, shows: str, phone: bool) -> None:
    with chromium_page(phone=phone) as page:
        reached: list[str] = []
        page.on("response", lambda response: reached.append(response.url))
        page.goto(f"{server.base_url}/docs/{path}/")
        page.wait_for_selector(shows)
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth + 1"), "too wide"
        outside = [url for url in reached if not url.startswith((server.base_url, "data:", "blob:"))]
        assert outside == []


def test_a_request_can_be_tried_on_the_page(server: Server) -> None:
    with chromium_page() as page:
        page.goto(f"{server.base_url}/docs/api/")
        page.click("button.authorize")
        page.fill(".auth-container input >> nth=0", server.key)
        page.click(".auth-btn-wrapper button[type=submit] >> nth=0")
        page.click(".auth-btn-wrapper button.btn-done")
        page.click("[data-path='/v1/models']")
        page.click("button.try-out__btn")
        page.click("button.execute")
        page.wait_for_selector(".live-responses-table >> text=atelier-tiny")
