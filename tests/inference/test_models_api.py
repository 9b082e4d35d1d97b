"""Models over the management API: what programs are told."""

from typing import Any

import pytest
from django.test import Client

from accounts.models import ApiKey
from accounts.services import do_create_user, do_issue_key
from inference.models import Download, Model
from inference.sources import BUILTIN_FOLDER
from inference.tasks import work_on_downloads
from tests.support.hub import FakeHub, status

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("asked_once")]
ID = "org/tiny"


@pytest.fixture
def tiny(hub: FakeHub) -> FakeHub:
    hub.add_folder(ID, BUILTIN_FOLDER / "atelier-tiny")
    return hub


@pytest.fixture
def api() -> "Api":
    boss = do_create_user("boss", password=None, is_admin=True, acting_user=None)
    return Api(do_issue_key(boss, scopes=["manage"], acting_user=None).raw)


class Api:
    def __init__(self, key: str) -> None:
        self._client = Client(headers={"authorization": f"Bearer {key}"})

    def __call__(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        given = {} if body is None else {"data": body, "content_type": "application/json"}
        answer = getattr(self._client, method.lower())(f"/api/{path}", **given)
        return answer.status_code, answer.json() if answer.content else None


def test_a_model_s_whole_life(tiny: FakeHub, api: Api) -> None:
    code, found = api("POST", "models/inspect", {"source": ID, "tokens": 1000})
    assert code == 200 and found["kind"] == "text" and found["fit"]["tokens"] == 1000 and not found["is_here"]
    code, model = api("POST", "models/", {"source": ID})
    assert (code, model["state"], model["origin"]) == (201, "not downloaded", "hub")
    own = f"models/{model['id']}"
    code, download = api("POST", f"{own}/download", {"retries": 0})
    assert (code, download["state"]) == (202, "waiting")
    assert api("DELETE", own)[0] == 409
    assert api("POST", f"downloads/{download['id']}/cancel", {})[1]["state"] == "cancelled"
    assert api("POST", f"downloads/{download['id']}/cancel", {})[0] == 409
    api("POST", f"{own}/download", {})
    assert work_on_downloads()
    code, listed = api("GET", "downloads/")
    assert [each["state"] for each in listed["results"]] == ["done", "cancelled"]
    assert api("GET", f"downloads/{listed['results'][0]['id']}")[1]["bytes_done"] > 6_000_000
    assert api("GET", own)[1]["state"] == "here"
    assert api("PATCH", own, {"aliases": ["small"]})[1]["aliases"] == ["small"]
    assert {each["name"] for each in api("GET", "models/")[1]["results"]} == {ID, "atelier-tiny", "atelier-tiny-vl"}
    assert api("DELETE", f"{own}?files=true")[0] == 204
    assert not Model.objects.exists()


@pytest.mark.parametrize(
    ("method", "path", "body", "code", "says"),
    [
        ("POST", "models/", {"source": "/nowhere"}, 400, "no such folder"),
        ("POST", "models/", {"source": ID, "revision": "../x"}, 400, "can be no revision"),
        ("POST", "models/", {"sauce": ID}, 400, "no such field"),
        ("POST", "models/inspect", {"source": "org/typo"}, 400, "There is no model org/typo"),
        ("POST", "models/inspect", {"source": ID, "tokens": 0}, 400, "tokens"),
        ("GET", "models/999999", None, 404, "no such model"),
        ("GET", "downloads/999999", None, 404, "no such download"),
        ("POST", "models/999999/download", {}, 404, "no such model"),
    ],
)
def test_what_is_refused(tiny: FakeHub, api: Api, method: str, path: str, body: Any, code: int, says: str) -> None:
    answered, said = api(method, path, body)
    assert answered == code and says in str(said)


def test_a_hub_at_fault(tiny: FakeHub, api: Api) -> None:
    tiny.fail("api", *[status(503)] * 2)
    code, said = api("POST", "models/inspect", {"source": ID})
    assert code == 503 and "the hub has a fault (503)" in said["detail"]


def test_wishes_that_make_no_sense(tiny: FakeHub, api: Api) -> None:
    model = api("POST", "models/", {"source": ID})[1]["id"]
    built_in = api("POST", "models/", {"source": "atelier-tiny"})[1]["id"]
    for id, body in ((model, {"retries": -1}), (model, {"timeout": 0}), (model, {"revision": ".."}), (built_in, {})):
        assert api("POST", f"models/{id}/download", body)[0] == 400, body
    assert api("PATCH", f"models/{model}", {"aliases": ["default"]})[0] == 400
    assert api("DELETE", f"models/{model}?files=perhaps")[0] == 400
    assert not Download.objects.exists() and ApiKey.objects.count() == 1
