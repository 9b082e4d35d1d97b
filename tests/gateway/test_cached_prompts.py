"""What the prefix cache saves, as clients and the ledger see it, from a whole Atelier with a real model."""

import uuid
from typing import Any

import httpx
import openai
import pytest

from tests.support.server import Server

CHAT = "/v1/chat/completions"


def of(server: Server, user: str, *, team: str | None = None) -> str:
    """A key of this user's, for this team."""
    teams = [] if team is None else ["--team", team]
    return server.run("createkey", "--user", user, *teams, "--quiet").strip()


def ask(server: Server, key: str, prompt: str, **fields: Any) -> dict[str, Any]:
    """The usage of a request with this system prompt."""
    messages = [{"role": "system", "content": prompt}, {"role": "user", "content": "Hello!"}]
    answer = httpx.post(
        f"{server.base_url}{CHAT}",
        headers={"authorization": f"Bearer {key}"},
        json={"model": "default", "messages": messages, "max_tokens": 4, **fields},
        timeout=60,
    )
    assert answer.status_code == 200, answer.text
    usage: dict[str, Any] = answer.json()["usage"]
    return usage


def cached(usage: dict[str, Any]) -> int:
    count: int = usage["prompt_tokens_details"]["cached_tokens"]
    return count


@pytest.fixture
def prompt() -> str:
    """A long one that nobody has sent before."""
    return f"{uuid.uuid4()} " + "You answer questions about Atelier. " * 12


def test_an_equal_prompt_is_taken_from_the_cache_and_counted(server: Server, prompt: str) -> None:
    before = len(server.ledger())
    first, second = (ask(server, server.key, prompt) for _ in range(2))
    assert cached(first) < 32, "the template's own beginning at most"
    assert second["prompt_tokens"] == first["prompt_tokens"]
    assert first["prompt_tokens"] // 2 < cached(second) < second["prompt_tokens"]
    rows = server.settled(before, 2)
    assert [row["cached_tokens"] for row in rows] == [cached(first), cached(second)]
    assert [row["prompt_tokens"] for row in rows] == [first["prompt_tokens"]] * 2


def test_a_stream_counts_them_in_its_last_chunk(server: Server, prompt: str) -> None:
    sdk = openai.OpenAI(base_url=f"{server.base_url}/v1", api_key=server.key, max_retries=0)
    fields: dict[str, Any] = {"model": "default", "prompt": prompt, "max_tokens": 4}
    counts = []
    for _ in range(2):
        *_, last = sdk.completions.create(**fields, stream=True, stream_options={"include_usage": True})
        assert last.usage is not None and last.usage.prompt_tokens_details is not None
        counts.append(last.usage.prompt_tokens_details.cached_tokens)
    assert counts[0] == 0 < (counts[1] or 0) < last.usage.prompt_tokens


def test_a_team_shares_what_is_cached_and_nobody_else_finds_it(server: Server, prompt: str) -> None:
    run = uuid.uuid4().hex[:8]
    ada, bob, cleo, dan, eve = (f"{name}-{run}" for name in ("ada", "bob", "cleo", "dan", "eve"))
    research, design = f"research {run}", f"design {run}"
    for user, team in [(ada, research), (bob, research), (cleo, design)]:
        server.run("createuser", user, "--team", team)
    for user in (dan, eve):
        server.run("createuser", user)

    adas = of(server, ada, team=research)
    assert cached(ask(server, adas, prompt)) == 0
    warm = cached(ask(server, adas, prompt))
    assert warm > 0
    assert cached(ask(server, of(server, bob, team=research), prompt)) == warm
    dans = of(server, dan)
    for stranger in (of(server, cleo, team=design), dans, of(server, eve)):
        assert cached(ask(server, stranger, prompt)) == 0
    assert cached(ask(server, of(server, dan), prompt)) == warm, (
        "another key of the same user, for the same team of its own"
    )
    assert cached(ask(server, of(server, ada), prompt)) == warm, "a key for the only team that its user is in"


def test_a_prefix_that_an_administrator_shares(server: Server, prompt: str) -> None:
    """All teams find it from the next request on, to its last token and not one beyond; no longer when it goes."""
    run, secret = uuid.uuid4().hex[:8], " And never mention the merger with the other house. " * 4
    keys = []
    for name in ("fay", "gus", "hal", "ida"):
        server.run("createuser", f"{name}-{run}", "--team", f"{name}s {run}")
        keys.append(of(server, f"{name}-{run}", team=f"{name}s {run}"))
    fay, gus, hal, ida = keys

    def change(code: str) -> None:
        server.run("shell", "-c", f"from inference.models import *; from inference.services import *; {code}")

    text = prompt.strip()
    change(
        f"do_share_prefix(Model.objects.get(name='atelier-tiny'), {text!r}, name='{run}', is_pinned=True,"
        " acting_user=None)"
    )
    assert cached(ask(server, fay, text + secret)) == 0
    own = cached(ask(server, fay, text + secret))
    everybodys = cached(ask(server, gus, text + secret))
    assert 0 < everybodys < own, "the secret is the first team's own, though the second sends it too"
    other = ask(server, gus, text + " Something else.")
    assert cached(other) == everybodys
    assert cached(ask(server, gus, text + secret)) == own, "and by then the second's"
    # What does not begin with it is as ever.
    assert cached(ask(server, hal, "X" + text)) == 0
    change(f"do_delete_shared_prefix(SharedPrefix.objects.get(name='{run}'), acting_user=None)")
    assert cached(ask(server, ida, text + secret)) == 0
