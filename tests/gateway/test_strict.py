"""--strict-model-id and --strict-parameters."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
from django.conf import settings

from tests.gateway.local import LocalGateway
from tests.gateway.scripts import CHAT, answers, body
from tests.support.server import Server

MESSAGES: Any = [{"role": "user", "content": "Hello!"}]


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    data = tmp_path_factory.mktemp("strict")
    with Server(data, "atelier-tiny", "--strict-model-id", "--strict-parameters") as running:
        yield running


def test_a_strict_server_takes_exact_names_and_known_parameters(strict: Server) -> None:
    sdk = openai.OpenAI(base_url=f"{strict.base_url}/v1", api_key=strict.key)
    assert sdk.chat.completions.create(model="atelier-tiny", messages=MESSAGES, max_tokens=3).choices
    with pytest.raises(openai.NotFoundError) as unknown:
        sdk.chat.completions.create(model="default", messages=MESSAGES)
    assert unknown.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError) as refused:
        sdk.chat.completions.create(
            model="atelier-tiny", messages=MESSAGES, extra_body={"top_kk": 5, "verbosity": "low"}
        )
    assert refused.value.param == "top_kk"
    assert "'top_kk'" in refused.value.message and "'verbosity'" in refused.value.message
    # Ready for whoever names the model, whatever it is called.
    assert httpx.get(f"{strict.base_url}/health/ready").json() == {"status": "ready", "model": "atelier-tiny"}


async def test_without_it_names_and_parameters_are_taken(gateway: LocalGateway) -> None:
    async with gateway.engine(answers):
        for name in ("scripted", "default", "alias"):
            answer = await gateway.ask(CHAT, body=body(model=name, unheard_of=1))
            assert (answer.status, answer.headers["x-ignored-parameters"]) == (200, "unheard_of")


@pytest.mark.parametrize("name", ["default", "alias", "team/scripted", "Scripted"])
async def test_strict_names_are_a_models_own(gateway: LocalGateway, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(settings, "STRICT_MODEL_ID", True)
    async with gateway.engine(answers):
        assert (await gateway.ask(CHAT, body=body())).status == 200
        refused = await gateway.ask(CHAT, body=body(model=name))
        assert (refused.status, refused.error["code"]) == (404, "model_not_found")
        assert (await gateway.ask(f"/v1/models/{name}", method="GET")).status == 404
        assert (await gateway.ask("/v1/models/scripted", method="GET")).json["aliases"] == []
        assert (await gateway.ask("/health/ready", method="GET")).status == 200


@pytest.mark.parametrize("path", [CHAT, "/v1/completions"])
async def test_strict_parameters_name_what_would_be_ignored(
    gateway: LocalGateway, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setattr(settings, "STRICT_PARAMETERS", True)
    content = {"messages": MESSAGES} if path == CHAT else {"prompt": "hi"}
    async with gateway.engine(answers) as engine:
        request = {"model": "scripted", **content}
        assert (await gateway.ask(path, body=json.dumps({**request, "verbosity": None}).encode())).status == 200
        refused = await gateway.ask(path, body=json.dumps({**request, "verbosity": "low", "uset": "amy"}).encode())
        long = await gateway.ask(path, body=json.dumps({**request, **{f"{at}" * 500: 1 for at in range(99)}}).encode())
        assert len(engine.requests) == 1
    assert refused.status == 400
    assert refused.error["param"] == "verbosity"
    assert "'verbosity'" in refused.error["message"] and "'uset'" in refused.error["message"]
    assert "x-ignored-parameters" in refused.headers
    assert long.status == 400 and len(long.body) < 10_000
