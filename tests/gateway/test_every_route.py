"""Nobody sees, uses, cancels or guesses what is another team's, or a colleague's beyond what docs/permissions.md says.

Walks Django's resolver and the gateway's router: a route that is not in `route_table` fails."""

import json
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest
from channels.db import database_sync_to_async
from django.apps import apps
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, resolve
from django.utils import timezone
from django.utils.http import urlsafe_base64_encode
from rest_framework.views import APIView

from accounts import ledger
from accounts.authentication import load_principal
from accounts.invitations import do_invite
from accounts.keys import digest
from accounts.models import ApiKey, Batch, FileChunk, StoredFile, StoredResponse, User
from accounts.quotas.verbs import do_set_quota
from accounts.service_accounts import do_create_service_account
from accounts.services import (
    IssuedKey,
    do_add_member,
    do_create_team,
    do_create_user,
    do_issue_key,
)
from atelier.asgi import application
from gateway import diagnostics
from gateway.routing import application as gateway_application
from inference.downloads import do_request_download
from inference.models import Model
from tests.gateway.asgi_driver import Exchange, ask
from tests.gateway.local import LocalGateway
from tests.gateway.route_table import DJANGO, DOORS, GATEWAY, OWN_PAGES, STAFF_ONLY, WHO, Row
from tests.gateway.scripts import answers, begins_and_waits, body

ABSENT = {
    "team": "no-such-team", "member": "nobody", "service": "nobody@zebra", "mia": "nobody", "response": "resp_none",
    "running": "req_none", "uid": "OTk5OTk5", "file": f"file-{'0' * 32}", "batch": f"batch_{'0' * 32}",
    **dict.fromkeys(("key", "private", "quota", "team_quota", "invitation", "model", "download"), "999999"),
}  # fmt: skip
"""Names and ids that there are not, by placeholder."""
TEAM_ROLES = {"colleague": "member", "viewer": "viewer", "owner": "owner", "herself": "member"}


class World:
    """Two teams, and what is mia's. Names that give something away, with those who may know it, are in `marks`."""

    def __init__(self) -> None:
        self.count = 0
        self.zebra = do_create_team("Zebra", acting_user=None)
        other = do_create_team("Other", acting_user=None)
        self.users: dict[str, User] = {}
        self.headers: dict[tuple[str, str], dict[str, str]] = {}
        for who in WHO[1:]:
            name = "zebra-mia" if who == "herself" else f"zebra-{who}" if who in TEAM_ROLES else who
            user = self.users[who] = do_create_user(name, password=None, is_admin=who == "root", acting_user=None)
            if who in TEAM_ROLES:
                do_add_member(self.zebra, user, role=TEAM_ROLES[who], acting_user=None)
            elif who == "stranger":
                do_add_member(other, user, role="owner", acting_user=None)
        self.mia = self.users["herself"]
        insiders = {*TEAM_ROLES, "root"}
        self.marks: dict[str, set[str]] = {
            "zebra": insiders,
            # The note of a key for the team, and of one for no team; what was said.
            "okapi": {"owner", "root", "herself"},
            # The model that she has used.
            "tapir": {"owner", "root", "herself"},
            "quagga": {"root", "herself"},
        }
        for who, user in self.users.items():
            team = {"stranger": other, **dict.fromkeys(("colleague", "owner", "herself"), self.zebra)}.get(who)
            for kind, scopes in (("api", ["manage"]), ("v1", None)):
                issued = do_issue_key(user, team=team, scopes=scopes, acting_user=None)
                self.headers[who, kind] = {"authorization": f"Bearer {issued.raw}"}
                if who == "herself":
                    self.marks[issued.row.prefix] = {"owner", "root", "herself"}
                    self.used(issued)
            client = Client()
            client.force_login(user)
            self.headers[who, "session"] = {"cookie": f"sessionid={client.cookies['sessionid'].value}"}
        for what in ("key", "private", "quota", "team_quota", "service", "response", "invitation", "batch"):
            self.make(what)

    def headers_of(self, who: str, path: str) -> dict[str, str]:
        kind = {"api": "api", "v1": "v1", "health": "v1"}.get(path.split("/")[1].partition("?")[0], "session")
        return self.headers.get((who, kind), {})

    def used(self, key: IssuedKey) -> None:
        """Something, by this key."""
        principal = load_principal(digest(key.raw))
        assert principal is not None
        self.count += 1
        ledger.open_record(
            request_id=f"used-{self.count}", principal=principal, model="tapir", endpoint="chat.completions",
            stream=False, gateway="g", estimated_prompt_tokens=1, started_at=timezone.now() - timedelta(minutes=5),
        )  # fmt: skip
        ledger.settle(
            f"used-{self.count}", outcome="stop", prompt_tokens=5, cached_tokens=0, completion_tokens=5, queue_ms=0,
            ttft_ms=None, duration_ms=1, engine_seconds=0.1,
        )  # fmt: skip

    def make(self, what: str) -> str:
        """What a placeholder stands for, as it stands in a path."""
        self.count += 1
        name = f"{self.count}"
        match what:
            case "team":
                return self.zebra.slug
            case "mia":
                return self.mia.username
            case "new":
                return f"new-{name}"
            case "hours_ago":
                return str(int((datetime.now(UTC) - timedelta(hours=2)).timestamp()))
            case "outsider":
                return do_create_user(f"outsider-{name}", password=None, acting_user=None).username
            case "member":
                user = do_create_user(f"zebra-member-{name}", password=None, acting_user=None)
                do_add_member(self.zebra, user, acting_user=None)
                return user.username
            case "service":
                return do_create_service_account(self.zebra, f"bot-{name}", acting_user=None).username
            case "key":
                return self.key(do_issue_key(self.mia, team=self.zebra, note="okapi", acting_user=None), "owner")
            case "private":
                return self.key(do_issue_key(self.mia, note="quagga", acting_user=None))
            case "quota":
                return str(self.quota(user=self.mia, model=f"quagga-{name}"))
            case "team_quota":
                return str(self.quota(team=self.zebra, model=f"team-model-{name}"))
            case "invitation":
                return str(do_invite(self.zebra, email=f"okapi-{name}@example.org", acting_user=None).row.pk)
            case "uid":
                return urlsafe_base64_encode(str(self.mia.pk).encode())
            case "file":
                return self.file().file_id
            case "batch":
                return self.batch()
            case "model":
                return str(self.model().pk)
            case "download":
                return str(do_request_download(self.model(), acting_user=None).pk)
            case "response":
                return self.response(f"resp_{name}")
        raise AssertionError(f"nobody knows how to make {what}")

    def key(self, issued: IssuedKey, *more: str) -> str:
        self.marks[issued.row.prefix] = {"root", "herself", *more}
        return str(issued.row.pk)

    def quota(self, **of: Any) -> int:
        return do_set_quota(metric="tokens", window="day", limit=77, acting_user=None, **of).pk

    def file(self) -> StoredFile:
        line = b'{"custom_id": "quagga"}'
        file = StoredFile.objects.create(
            user=self.mia, team=self.zebra, filename="quagga.jsonl", purpose="batch", size=len(line), is_whole=True,
            expires_at=timezone.now() + timedelta(days=1),
        )  # fmt: skip
        FileChunk.objects.create(file=file, number=0, data=line)
        return file

    def batch(self) -> str:
        key = ApiKey.objects.filter(user=self.mia, team=self.zebra).first()
        batch = Batch.objects.create(
            user=self.mia, team=self.zebra, key=key, endpoint="/v1/chat/completions", metadata='{"said": "quagga"}',
            input_file_id=self.file().file_id, expires_at=timezone.now() + timedelta(days=1),
        )  # fmt: skip
        return batch.batch_id

    def model(self) -> Model:
        return Model.objects.create(name=f"org/model-{self.count}", source=f"org/model-{self.count}")

    def response(self, id: str) -> str:
        said = {"id": id, "object": "response", "output": [], "metadata": {"said": "quagga"}}
        item = {"id": "msg_1", "type": "message", "role": "user", "content": [{"type": "input_text", "text": "quagga"}]}
        StoredResponse.objects.create(
            response_id=id, user=self.mia, team=self.zebra, input_items=json.dumps([item]), response=json.dumps(said),
            expires_at=timezone.now() + timedelta(days=1),
        )  # fmt: skip
        return id


@pytest.fixture
async def world(gateway: LocalGateway) -> World:
    made: World = await database_sync_to_async(World)()
    return made


# --- every route is in the table


def django_routes() -> Iterator[tuple[str, Callable[..., Any]]]:
    def walk(patterns: list[Any], before: str) -> Iterator[tuple[str, Callable[..., Any]]]:
        for pattern in patterns:
            route = before + str(pattern.pattern)
            if isinstance(pattern, URLResolver):
                yield from walk(pattern.url_patterns, route)
            else:
                assert isinstance(pattern, URLPattern)
                yield route, pattern.callback

    return walk(get_resolver().url_patterns, "")


def plain(route: str) -> str:
    """As Django puts it together when it resolves."""
    return route.replace("/^", "/")


def in_groups(route: str) -> bool:
    return route.startswith(STAFF_ONLY + OWN_PAGES)


def methods_of(view: Callable[..., Any]) -> set[str]:
    """Those that an API's view handles; of others, reading is what there is to try."""
    cls = getattr(view, "cls", None)
    if cls is None or not issubclass(cls, APIView):
        return {"GET"}
    return {name.upper() for name in ("get", "post", "put", "patch", "delete") if hasattr(cls, name)}


def filled(path: str, names: dict[str, str]) -> str:
    return re.sub(r"\{(\w+)\}", lambda found: quote(names[found[1]], safe="@"), path)


def test_every_route_of_django_s_is_in_the_table() -> None:
    """A new one: say in route_table what becomes of those who try it."""
    tried = set()
    for row in DJANGO:
        path = filled(row.path, ABSENT).partition("?")[0]
        tried.add((plain(resolve(path).route), row.method))
    routes = [(plain(route), view) for route, view in django_routes() if not in_groups(route)]
    there = {(route, method) for route, view in routes for method in methods_of(view)}
    assert there - tried == set(), "not in the table"
    assert tried - there == set(), "no such route"


def test_every_route_of_the_gateway_s_is_in_the_table() -> None:
    left = set()
    rows = [(row, filled(row.path, ABSENT | {"hours_ago": "1"}).partition("?")[0].removeprefix("/")) for row in GATEWAY]
    router: Any = gateway_application.application
    for route in router.routes:
        # Wider patterns stand behind narrower ones.
        mine = [(row, path) for row, path in rows if route.pattern.match(path)]
        rows = [each for each in rows if each not in mine]
        methods = set(route.callback.consumer_class.methods) - {"HEAD"}
        left |= {(str(route.pattern), method) for method in methods - {row.method for row, _ in mine}}
    assert left == set() and rows == []


def test_the_groups_are_there() -> None:
    routes = [route for route, _ in django_routes()]
    assert all(any(route.startswith(group) for route in routes) for group in STAFF_ONLY + OWN_PAGES)
    assert set(routes) >= DOORS


# --- and each is tried by everybody


@pytest.mark.parametrize("row", GATEWAY + DJANGO, ids=lambda row: f"{row.method} {row.path}")
async def test_who_gets_what(gateway: LocalGateway, world: World, row: Row, monkeypatch: pytest.MonkeyPatch) -> None:
    # There is no worker here to wait for.
    monkeypatch.setattr(diagnostics, "WORKER_SECONDS", 0.05)
    script = begins_and_waits if "{running}" in row.path else answers
    async with gateway.engine(script) as engine:
        for who, status in row.expected().items():
            async with AsyncExitStack() as stack:
                names = await things(world, row, stack, gateway, engine)
                answer = await tried(world, row, who, names)
                assert answer.status == status, f"{who}: {answer.status} {answer.body[:300]!r}"
                shows_nothing(world, who, answer)
                if names and (status == 404 or row.is_blind or (status == 400 and who == "stranger")):
                    # As if it were not there.
                    absent = await tried(world, row, who, {**names, **{n: ABSENT[n] for n in names if n in ABSENT}})
                    assert absent.status == status and unnamed(absent, ABSENT) == unnamed(answer, names), who


async def things(world: World, row: Row, stack: AsyncExitStack, gateway: LocalGateway, engine: Any) -> dict[str, str]:
    """All that the row's placeholders stand for, by them."""
    wanted = sorted(set(re.findall(r"\{(\w+)\}", row.path + json.dumps(row.body))))
    names = {}
    for what in wanted:
        if what == "running":
            names[what] = f"run-{world.count}"
            world.count += 1
            headers = {**world.headers["herself", "v1"], "x-request-id": names[what]}
            running = await stack.enter_async_context(
                Exchange(application, "POST", "/v1/chat/completions", body=body(stream=True), headers=headers)
            )
            await running.until(lambda running=running: running.chunks)
        else:
            names[what] = await database_sync_to_async(world.make)(what)
    return names


async def tried(world: World, row: Row, who: str, names: dict[str, str]) -> Exchange:
    path, _, query = filled(row.path, names).partition("?")
    content = b"" if row.body is None else filled_body(row.body, names)
    headers = {**world.headers_of(who, path), **({"content-type": "application/json"} if content else {})}
    headers["content-length"] = str(len(content))
    return await ask(application, row.method, path, body=content, headers=headers, query_string=query.encode())


def filled_body(body: Any, names: dict[str, str]) -> bytes:
    return json.dumps(
        {
            name: re.sub(r"\{(\w+)\}", lambda found: names[found[1]], value) if isinstance(value, str) else value
            for name, value in body.items()
        }
    ).encode()


def shows_nothing(world: World, who: str, answer: Exchange) -> None:
    """Of what is not for those eyes."""
    seen = answer.body.decode().lower() + str(answer.headers).lower()
    for mark, allowed in world.marks.items():
        if who not in allowed:
            assert mark.lower() not in seen, f"{who} sees {mark}: {seen[:2000]}"


def unnamed(answer: Exchange, names: dict[str, str]) -> str:
    """Its body, without what the request itself has said."""
    text = answer.body.decode()
    for name in sorted(names.values(), key=len, reverse=True):
        text = text.replace(name, "…")
    return text


# --- groups: the admin


def path_in(route: str) -> str:
    """One that the route matches, to something that there is if it is of a model."""
    found = re.match(r"admin/(\w+)/(\w+)/", route)
    row = None
    if found and found[1] in {config.label for config in apps.get_app_configs()}:
        row = apps.get_model(found[1], found[2]).objects.order_by("pk").first()
    path = re.sub(
        r"<[\w:]+>", str(row.pk if row else 1), route.replace("(?P<app_label>accounts|inference)", "accounts")
    )
    return "/" + path.replace("(?P<url>.*)", "nothing").replace("^", "").replace("$", "")


@pytest.fixture
async def grouped(world: World) -> AsyncIterator[list[tuple[str, str]]]:
    """Routes, and a path of each."""

    def paths() -> list[tuple[str, str]]:
        return [(route, path_in(route)) for route, _ in django_routes() if route.startswith(STAFF_ONLY)]

    yield await database_sync_to_async(paths)()


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("who", [who for who in WHO if who != "root"])
async def test_the_admin_is_closed_to_everybody_else(
    world: World, grouped: list[tuple[str, str]], who: str, method: str
) -> None:
    assert len(grouped) > 40
    for route, path in grouped:
        answer = await ask(application, method, path, headers=world.headers_of(who, path))
        closed = (302, 403, 404, 405) if route not in DOORS else (200, 302, 403, 405)
        assert answer.status in closed, f"{path}: {answer.status}"
        if answer.status == 302 and route not in DOORS and "/login/" not in answer.headers["location"]:
            # Redirections of old addresses lead to another of these paths, or to one's own pages.
            assert answer.headers["location"].startswith(("/admin/", "/account/")), path
        shows_nothing(world, who, answer)


async def test_the_admin_is_open_to_platform_admins(world: World, grouped: list[tuple[str, str]]) -> None:
    """That it is closed to others is not because the paths lead nowhere."""
    shown = {}
    for route, path in grouped:
        if route not in DOORS:
            shown[path] = (await ask(application, "GET", path, headers=world.headers_of("root", path))).status
    assert not {path for path, status in shown.items() if status >= 500}
    lists = [path for path, status in shown.items() if status == 200 and path.count("/") == 4]
    assert len(lists) >= 7
    assert sum(status == 200 for status in shown.values()) > 25


# --- groups: everybody's own pages


@pytest.mark.parametrize("who", WHO)
async def test_own_pages_are_one_s_own(world: World, who: str) -> None:
    paths = ["/" + re.sub(r"<[\w:]+>", "none", route) for route, _ in django_routes() if route.startswith(OWN_PAGES)]
    for path in paths:
        answer = await ask(application, "GET", path, headers=world.headers_of(who, path))
        assert answer.status in (200, 302, 401, 403, 404, 405), f"{path}: {answer.status}"
        if who == "anonymous" and answer.status == 200:
            assert "/login/" in path or "/inactive/" in path or "/sso/" in path, path
        shows_nothing(world, who, answer)
