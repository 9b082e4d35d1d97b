"""`GET /v1/usage`: a key reads what it has used itself, and nothing else."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from channels.db import database_sync_to_async
from django.utils import timezone

from accounts.authentication import Principal
from accounts.models import ApiKey, Price, Team, User
from accounts.rollups import forget_old_records, midnight, roll_up
from accounts.services import do_add_member, do_create_team, do_issue_key
from gateway.usage import moment_of, read
from tests.accounts.ledger_made import ended
from tests.gateway.local import LocalGateway

PATH = "/v1/usage"
DAY = timedelta(days=1)
TODAY = midnight(timezone.now().date())


async def ask(gateway: LocalGateway, query: str = "", key: str | None = None) -> Any:
    headers = {"authorization": f"Bearer {key or gateway.key}"}
    return await gateway.ask(PATH, method="GET", headers=headers, query_string=query.encode())


def principal_of(key: ApiKey) -> Principal:
    return Principal(key.pk, key.prefix, key.user_id, key.user.username, key.team_id, None)


@pytest.fixture
async def used_up(gateway: LocalGateway) -> LocalGateway:
    """Its key has used something today and on two days before; another key of the same user, too."""

    def prepare() -> None:
        key = ApiKey.objects.select_related("user").get()
        Price.objects.create(model="large", input=10, output=100, valid_from=TODAY - 90 * DAY)
        other = do_issue_key(key.user, acting_user=None).row
        for at, fields in (
            (timezone.now(), {}),
            (TODAY - 2 * DAY, {"model": "large", "endpoint": "messages"}),
            (TODAY - 2 * DAY + timedelta(hours=1), {"outcome": "refused", "prompt_tokens": 0, "cached_tokens": 0}),
            (TODAY - 70 * DAY, {"prompt_tokens": 1000}),
        ):
            ended(principal_of(key), at, **fields)
            ended(principal_of(other), at)
            roll_up()

    await database_sync_to_async(prepare)()
    return gateway


async def test_today_and_by_day_and_model(used_up: LocalGateway) -> None:
    said = (await ask(used_up)).json
    assert (said["object"], said["currency"], said["time_zone"]) == ("usage", "USD", "UTC")
    assert used_up.key.startswith(said["key"])
    assert {name: said["today"][name] for name in ("requests", "input_tokens", "cost", "since")} == {
        "requests": 1, "input_tokens": 10, "cost": None, "since": f"{TODAY:%Y-%m-%d}T00:00:00Z",
    }  # fmt: skip
    assert said["month"]["since"] == f"{TODAY:%Y-%m}-01T00:00:00Z"
    assert [(row["day"], row["model"], row["endpoint"], row["requests"]) for row in said["data"]] == [
        (f"{TODAY - 2 * DAY:%Y-%m-%d}", "large", None, 1), (f"{TODAY - 2 * DAY:%Y-%m-%d}", "tiny", None, 0),
        (f"{TODAY:%Y-%m-%d}", "tiny", None, 1),
    ]  # fmt: skip
    assert said["data"][0] == {
        "day": f"{TODAY - 2 * DAY:%Y-%m-%d}", "model": "large", "endpoint": None, "requests": 1, "input_tokens": 10,
        "input_cached_tokens": 4, "output_tokens": 3, "gpu_seconds": 0.25, "cost": "0.000360",
    }  # fmt: skip


async def test_spans_and_groups(used_up: LocalGateway) -> None:
    start, end = f"{TODAY - 100 * DAY:%Y-%m-%d}", f"{TODAY - 2 * DAY:%Y-%m-%d}"
    said = (await ask(used_up, f"start={start}&end={end}&group_by=model")).json
    assert [(row["day"], row["model"], row["input_tokens"]) for row in said["data"]] == [(None, "tiny", 1000)]
    assert (said["start"], said["end"]) == (f"{start}T00:00:00Z", f"{end}T00:00:00Z")
    seconds = int((TODAY - 2 * DAY).timestamp())
    said = (await ask(used_up, f"start={seconds}&end={seconds + 3600}&group_by=endpoint,model")).json
    assert [(row["endpoint"], row["model"]) for row in said["data"]] == [("messages", "large")]
    assert (await ask(used_up, f"start={end}&end={end}")).json["data"] == []
    assert (await ask(used_up, "start=2200-01-01&end=9999-12-31&group_by=model")).json["data"] == []


async def test_its_own_and_nobody_elses(used_up: LocalGateway) -> None:
    """Not its user's either: that is what the organization's usage is for."""

    def fresh() -> str:
        return do_issue_key(User.objects.get(), acting_user=None).raw

    said = (await ask(used_up, "start=1970-01-01&group_by=model", key=await database_sync_to_async(fresh)())).json
    assert said["data"] == [] and said["month"]["requests"] == 0


async def test_days_of_the_team(gateway: LocalGateway) -> None:
    def prepare() -> tuple[str, ApiKey]:
        team = do_create_team("Far", time_zone="Pacific/Kiritimati", acting_user=None)
        user = User.objects.get()
        do_add_member(team, user, acting_user=None)
        issued = do_issue_key(user, team=Team.objects.get(), acting_user=None)
        return issued.raw, issued.row

    raw, _ = await database_sync_to_async(prepare)()
    said = (await ask(gateway, key=raw)).json
    assert said["time_zone"] == "Pacific/Kiritimati"
    since = datetime.fromisoformat(said["today"]["since"])
    assert since.astimezone(UTC).hour == 10 and timedelta(0) <= timezone.now() - since < DAY


async def test_the_same_when_rows_are_gone(used_up: LocalGateway, settings: Any) -> None:
    before = (await ask(used_up, "start=1990-01-01&end=2200-01-01&group_by=model,endpoint")).json["data"]
    settings.USAGE_RETENTION_DAYS = 40
    assert await database_sync_to_async(forget_old_records)() == 2
    assert (await ask(used_up, "start=1990-01-01&end=2200-01-01&group_by=model,endpoint")).json["data"] == before
    hours = f"start_time={int((TODAY - 70 * DAY).timestamp())}&bucket_width=1h"
    answer = await used_up.ask("/v1/organization/usage/completions", method="GET", query_string=hours.encode())
    assert (answer.status, answer.error["param"]) == (400, "bucket_width")
    assert "only daily sums" in answer.error["message"]


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("start=yesterday", "start"),
        ("start=2026-13-01", "start"),
        ("start=2026-02-30", "start"),
        ("start=0001-01-01", "start"),
        ("start=-5", "start"),
        ("start=1e9", "start"),
        ("start=20260101T000000", "start"),
        ("end=99999999999999999999", "end"),
        ("end=%C2%B2", "end"),
        ("start=2026-02-01&end=2026-01-01", "end"),
        ("start=1990-01-01", "start"),
        ("group_by=user", "group_by"),
        ("group_by=", "group_by"),
        ("group_by=<b>", "group_by"),
        ("start=2026-01-01%00", None),
        ("start=%ff", None),
    ],
)
async def test_queries_that_can_not_be_read(gateway: LocalGateway, query: str, param: str | None) -> None:
    answer = await ask(gateway, query)
    assert (answer.status, answer.error["param"]) == (400, param)


async def test_what_is_not_known_is_named(gateway: LocalGateway) -> None:
    answer = await ask(gateway, "date=2026-01-01")
    assert answer.status == 200 and answer.headers["x-ignored-parameters"] == "date"


def test_left_out() -> None:
    now = datetime(2026, 11, 21, 13, tzinfo=UTC)
    query = read({}, now)
    assert (query.start, query.end, query.by) == (datetime(2026, 10, 23, tzinfo=UTC), now, ("day", "model"))
    assert moment_of({"end": ["253402300799"]}, "end") == datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
    old = read({"end": ["2020-01-01"]}, now)
    assert (old.start, old.end) == (datetime(2019, 12, 2, tzinfo=UTC), datetime(2020, 1, 1, tzinfo=UTC))
