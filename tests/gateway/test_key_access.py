"""Keys that may not do everything: what they are told."""

from typing import Any

import pytest
from channels.db import database_sync_to_async

from accounts.models import Scope, User
from accounts.services import do_issue_key
from gateway.access import address_of
from gateway.endpoint import KeyedEndpoint
from gateway.routing import application
from inference.models import Deployment, Engine, Model
from inference.services import endpoint_of
from tests.gateway.local import LocalGateway
from tests.gateway.scripts import CHAT, answers, body

PATHS = [
    ("POST", "/v1/chat/completions", Scope.GENERATE),
    ("POST", "/v1/completions", Scope.GENERATE),
    ("POST", "/v1/responses", Scope.GENERATE),
    ("GET", "/v1/responses/resp_1", Scope.GENERATE),
    ("GET", "/v1/responses/resp_1/input_items", Scope.GENERATE),
    ("POST", "/v1/responses/resp_1/cancel", Scope.GENERATE),
    ("POST", "/v1/messages", Scope.GENERATE),
    ("POST", "/v1/messages/count_tokens", Scope.GENERATE),
    ("DELETE", "/v1/requests/req_1", Scope.GENERATE),
    ("POST", "/v1/files", Scope.BATCH),
    ("GET", "/v1/files", Scope.BATCH),
    ("GET", "/v1/files/file-1", Scope.BATCH),
    ("DELETE", "/v1/files/file-1", Scope.BATCH),
    ("GET", "/v1/files/file-1/content", Scope.BATCH),
    ("POST", "/v1/batches", Scope.BATCH),
    ("GET", "/v1/batches", Scope.BATCH),
    ("GET", "/v1/batches/batch_1", Scope.BATCH),
    ("POST", "/v1/batches/batch_1/cancel", Scope.BATCH),
    ("POST", "/v1/embeddings", Scope.EMBED),
    ("POST", "/v1/audio/speech", Scope.GENERATE),
    ("POST", "/v1/audio/transcriptions", Scope.GENERATE),
    ("POST", "/v1/audio/translations", Scope.GENERATE),
    ("GET", "/v1/audio/voices", Scope.MODELS),
    ("POST", "/v1/rerank", Scope.EMBED),
    ("GET", "/v1/models", Scope.MODELS),
    ("GET", "/v1/models/scripted", Scope.MODELS),
    ("GET", "/v1/capabilities", Scope.MODELS),
    ("GET", "/health/diagnostics", Scope.MODELS),
    ("GET", "/v1/key", Scope.USAGE),
    ("GET", "/v1/organization/usage/completions", Scope.USAGE),
    ("GET", "/v1/usage", Scope.USAGE),
]


async def key(**limits: Any) -> dict[str, str]:
    """The header of another key of the same user."""

    def issue() -> str:
        return do_issue_key(User.objects.get(), acting_user=None, **limits).raw

    return {"authorization": f"Bearer {await database_sync_to_async(issue)()}"}


@pytest.mark.parametrize(("method", "path", "needed"), PATHS, ids=[path for _, path, _ in PATHS])
async def test_each_path_needs_its_scope(gateway: LocalGateway, method: str, path: str, needed: str) -> None:
    without = await key(scopes=[scope for scope in Scope.values if scope != needed])
    answer = await gateway.ask(path, method=method, body=body(), headers=without)
    error = answer.json["error"]
    assert answer.status == 403 and needed in error["message"]
    if not path.startswith("/v1/messages"):
        assert (error["type"], error["code"], error["param"]) == (
            "invalid_request_error",
            "insufficient_permissions",
            None,
        )
    assert await gateway.ledger() == []
    if path.endswith("count_tokens"):
        return  # which scripted engines never answer
    only = await key(scopes=[needed])
    async with gateway.engine(answers):
        assert (await gateway.ask(path, method=method, body=body(), headers=only)).status != 403


def test_every_keyed_path_is_here() -> None:
    """A new one without its scope in the list above fails."""
    router: Any = application.application
    for route in router.routes:
        if not issubclass(route.callback.consumer_class, KeyedEndpoint):
            continue
        mine = [needed for _, path, needed in PATHS if route.pattern.match(path.removeprefix("/"))]
        # Wider patterns stand behind narrower ones.
        assert route.callback.consumer_class.needs in mine, str(route.pattern)


async def other_model() -> None:
    """A second one, which is not the default."""

    def write() -> None:
        model = Model.objects.create(name="second", source="builtin:second", aliases=["two"])
        deployment = Deployment.objects.create(model=model, host=Deployment.objects.get().host, position=5)
        Engine.objects.create(deployment=deployment, endpoint=endpoint_of(deployment), state=Engine.State.READY)

    await database_sync_to_async(write)()


async def test_a_model_that_is_not_for_this_key_is_not_there(gateway: LocalGateway) -> None:
    await other_model()
    headers = await key(allowed_models=["second"])
    async with gateway.engine(answers):
        listed = await gateway.ask("/v1/models", method="GET", headers=headers)
        assert [model["id"] for model in listed.json["data"]] == ["second"]
        for name in ("scripted", "alias", "nothing"):
            theirs = await gateway.ask(CHAT, body=body(model=name), headers=headers)
            assert (theirs.status, theirs.error["code"]) == (404, "model_not_found")
            detail = await gateway.ask(f"/v1/models/{name}", method="GET", headers=headers)
            assert (detail.status, detail.error["message"]) == (404, theirs.error["message"])
        assert (await gateway.ask("/v1/models/two", method="GET", headers=headers)).json["id"] == "second"
        assert (await gateway.ask("/v1/models/default", method="GET", headers=headers)).json["id"] == "second"
        shown = await gateway.ask("/v1/capabilities", method="GET", headers=headers)
        assert shown.json["model_name"] == "second"


async def test_a_key_with_no_model_that_is_served(gateway: LocalGateway) -> None:
    headers = await key(allowed_models=["elsewhere"])
    assert (await gateway.ask("/v1/models", method="GET", headers=headers)).json["data"] == []
    answer = await gateway.ask(CHAT, body=body(model="default"), headers=headers)
    assert (answer.status, answer.error["code"]) == (404, "model_not_found")


async def test_from_another_network(gateway: LocalGateway) -> None:
    headers = await key(allowed_networks=["10.0.0.0/8"])
    answer = await gateway.ask("/v1/models", method="GET", headers=headers)
    assert (answer.status, answer.error["code"]) == (403, "insufficient_permissions")
    assert "network" in answer.error["message"]


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("10.0.0.1", [], "10.0.0.1"),
        ("9.9.9.9", ["10.0.0.1"], "9.9.9.9"),
        ("127.0.0.1", ["10.0.0.1"], "10.0.0.1"),
        ("::ffff:127.0.0.1", ["10.0.0.1"], "10.0.0.1"),
        ("127.0.0.1", ["6.6.6.6, 10.0.0.1"], "10.0.0.1"),
        ("127.0.0.1", ["6.6.6.6", "10.0.0.1, 172.16.0.9"], "10.0.0.1"),
        ("127.0.0.1", ["nonsense"], None),
        ("127.0.0.1", ["172.16.0.9"], "172.16.0.9"),
        ("127.0.0.1", [""], "127.0.0.1"),
        (None, ["10.0.0.1"], None),
    ],
)
def test_where_a_request_comes_from(settings: Any, peer: str | None, forwarded: list[str], address: str | None) -> None:
    """Only what trusted proxies have written counts."""
    from ipaddress import ip_network

    settings.TRUSTED_PROXIES = [ip_network("127.0.0.0/8"), ip_network("172.16.0.0/12")]
    headers = [(b"x-forwarded-for", value.encode()) for value in forwarded]
    found = address_of({"client": (peer, 1234) if peer else None, "headers": headers})
    assert (str(found) if found else None) == address
