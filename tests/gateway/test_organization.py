"""The usage API: OpenAI's own SDK reads it, and nobody reads what is not theirs."""

import time
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import openai
import pytest
from channels.db import database_sync_to_async

from accounts import ledger
from accounts.authentication import Principal
from accounts.models import ApiKey
from accounts.services import do_add_member, do_create_team, do_create_user, do_issue_key
from tests.gateway.local import LocalGateway
from tests.support.server import Server

PATH = "/v1/organization/usage/completions"
DAY = 86_400
START = int(datetime(2026, 11, 2, tzinfo=UTC).timestamp())


def record(id: str, key: ApiKey, *, at: int, model: str = "tiny", outcome: str = "stop", prompt: int = 10) -> None:
    principal = Principal(key.pk, key.prefix, key.user_id, key.user.username, key.team_id, None)
    ledger.open_record(
        request_id=id, principal=principal, model=model, endpoint="chat.completions", stream=False, gateway="g",
        estimated_prompt_tokens=1, started_at=datetime.fromtimestamp(at, UTC),
    )  # fmt: skip
    ledger.settle(
        id, outcome=outcome, prompt_tokens=prompt, cached_tokens=4, completion_tokens=3, queue_ms=0, ttft_ms=None,
        duration_ms=1, engine_seconds=0.1,
    )  # fmt: skip


@pytest.fixture
async def keys(gateway: LocalGateway) -> dict[str, str]:
    """Raw keys: of a member and an owner of one team, of a stranger, of an administrator."""

    def prepare() -> dict[str, str]:
        team = do_create_team("Vision", acting_user=None)
        made, rows = {}, {}
        for name, role in (("mia", "member"), ("otto", "owner"), ("sten", None), ("root", None)):
            user = do_create_user(name, password=None, is_admin=name == "root", acting_user=None)
            if role is not None:
                do_add_member(team, user, role=role, acting_user=None)
            issued = do_issue_key(user, team=team if role else None, acting_user=None)
            made[name], rows[name] = issued.raw, issued.row
        record("m1", rows["mia"], at=START + 5)
        record("m2", rows["mia"], at=START + DAY + 3600, model="large")
        record("o1", rows["otto"], at=START + DAY + 7200)
        record("s1", rows["sten"], at=START + DAY + 10, prompt=90)
        record("s2", rows["sten"], at=START + DAY + 20, outcome="refused", prompt=0 + 4)
        return made

    return await database_sync_to_async(prepare)()


async def ask(gateway: LocalGateway, key: str, query: str) -> Any:
    headers = {"authorization": f"Bearer {key}"}
    return await gateway.ask(PATH, method="GET", headers=headers, query_string=query.encode())


async def requests_of(gateway: LocalGateway, key: str, query: str = "") -> int:
    answer = await ask(gateway, key, f"start_time={START}&limit=31&{query}")
    assert answer.status == 200, answer.body
    return sum(result["num_model_requests"] for bucket in answer.json["data"] for result in bucket["results"])


async def test_who_sees_what(gateway: LocalGateway, keys: dict[str, str]) -> None:
    assert {name: await requests_of(gateway, key) for name, key in keys.items()} == {
        "mia": 2, "otto": 3, "sten": 1, "root": 4,
    }  # fmt: skip
    assert await requests_of(gateway, keys["mia"], "user_ids=sten") == 0, "asking for others' changes nothing"
    assert await requests_of(gateway, keys["mia"], "project_ids[]=vision") == 2
    assert await requests_of(gateway, keys["root"], "models=large,none") == 1


async def test_buckets_and_groups(gateway: LocalGateway, keys: dict[str, str]) -> None:
    query = f"start_time={START}&end_time={START + 3 * DAY}&group_by=user_id&group_by[]=model"
    page = (await ask(gateway, keys["root"], query)).json
    assert (page["object"], page["has_more"], page["next_page"]) == ("page", False, None)
    assert [bucket["start_time"] for bucket in page["data"]] == [START, START + DAY, START + 2 * DAY]
    first, second, third = (bucket["results"] for bucket in page["data"])
    assert third == [] and [(each["user_id"], each["model"]) for each in first] == [("mia", "tiny")]
    assert [(each["user_id"], each["model"], each["num_model_requests"], each["input_tokens"]) for each in second] == [
        ("sten", "tiny", 1, 94), ("mia", "large", 1, 10), ("otto", "tiny", 1, 10),
    ]  # fmt: skip
    assert first[0] == {
        "object": "organization.usage.completions.result", "input_tokens": 10, "input_cached_tokens": 4,
        "output_tokens": 3, "num_model_requests": 1, "project_id": None, "user_id": "mia", "api_key_id": None,
        "model": "tiny",
    }  # fmt: skip


async def test_pages(gateway: LocalGateway, keys: dict[str, str]) -> None:
    query = f"start_time={START + 4}&end_time={START + 2 * DAY}&bucket_width=1h&limit=20&group_by=project_id,api_key_id"
    page, seen, pages = "", 0, 0
    while True:
        answer = (await ask(gateway, keys["otto"], query + page)).json
        pages += 1
        assert len(answer["data"]) <= 20
        for bucket in answer["data"]:
            seen += sum(each["num_model_requests"] for each in bucket["results"])
            assert all(each["project_id"] == "vision" for each in bucket["results"])
        if not answer["has_more"]:
            break
        page = f"&page={answer['next_page']}"
    assert (seen, pages) == (3, 3)


async def test_minutes(gateway: LocalGateway, keys: dict[str, str]) -> None:
    page = (await ask(gateway, keys["sten"], f"start_time={START + DAY}&bucket_width=1m")).json
    assert len(page["data"]) == 60 and page["data"][0]["results"][0]["input_tokens"] == 94
    assert page["has_more"] and page["next_page"] == f"page_{START + DAY + 3600}"


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("", "start_time"),
        ("start_time=now", "start_time"),
        ("start_time=-5", "start_time"),
        ("start_time=1e5", "start_time"),
        ("start_time=99999999999999", "start_time"),
        ("start_time=10&end_time=5", "end_time"),
        ("start_time=10&end_time=x", "end_time"),
        ("start_time=10&bucket_width=2d", "bucket_width"),
        ("start_time=10&group_by=colour", "group_by"),
        ("start_time=10&group_by=batch", "group_by"),
        ("start_time=10&limit=32", "limit"),
        ("start_time=10&limit=0", "limit"),
        ("start_time=10&page=page_x", "page"),
        ("start_time=100000&page=page_5", "page"),
        ("start_time=10&models=%ff", None),
        ("start_time=10&models=a%00b", None),
        ("start_time=10" + "&models=x" * 300, None),
    ],
)
async def test_queries_that_can_not_be_read(gateway: LocalGateway, query: str, param: str | None) -> None:
    answer = await ask(gateway, gateway.key, query)
    assert (answer.status, answer.error["param"]) == (400, param)


async def test_what_is_not_known_is_named(gateway: LocalGateway) -> None:
    answer = await ask(gateway, gateway.key, f"start_time={START}&colour=red&batch=true")
    assert answer.status == 200 and answer.headers["x-ignored-parameters"] == "colour, batch"


@pytest.mark.parametrize("name", ["' or 1=1 --", "%", "_", "../x", "<b>", "mia,", "mia%", "\\", "☃"])
async def test_names_are_only_names(gateway: LocalGateway, keys: dict[str, str], name: str) -> None:
    """Whatever they look like. (A comma parts two of them.)"""
    assert await requests_of(gateway, keys["root"], f"user_ids={quote(name)}") == (2 if name == "mia," else 0)
    assert await requests_of(gateway, keys["root"], f"models={quote(name)}") == 0
    assert await requests_of(gateway, keys["root"]) == 4


def test_openais_sdk_reads_it(server: Server) -> None:
    before = int(time.time()) - 5
    with openai.OpenAI(
        base_url=f"{server.base_url}/v1", api_key=server.key, admin_api_key=server.key, max_retries=0
    ) as sdk:
        ledger_before = len(server.ledger())
        sdk.chat.completions.create(model="default", messages=[{"role": "user", "content": "What is 3 + 4?"}])
        server.settled(ledger_before, 1)
        page = sdk.admin.organization.usage.completions(start_time=before, bucket_width="1m", group_by=["model"])
    [result] = [result for bucket in page.data for result in bucket.results]
    assert result.object == "organization.usage.completions.result"
    assert result.model == "atelier-tiny" and result.num_model_requests >= 1
    assert result.input_tokens > 0 and result.output_tokens > 0


def test_a_window_of_a_second(server: Server) -> None:
    with server.client() as http:
        start = int((datetime.now(UTC) - timedelta(days=3000)).timestamp())
        answer = http.get(PATH, params={"start_time": start, "end_time": start})
    assert answer.status_code == 200 and answer.json()["data"] == []
