"""The guard alone, around applications that misbehave in every way."""

import asyncio
import threading
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.conf import settings

from gateway import context, errors, runtime, sse
from gateway.guard import Guard
from tests.gateway.asgi_driver import Exchange, ask

SECRET = "the-secret-prompt"


@pytest.fixture(autouse=True)
async def gateway() -> Any:
    yield runtime.current()
    await runtime.current().close()


async def fine(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": b"fine"})


async def read_all(receive: Any) -> bytes:
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message["body"], message["more_body"]
    return body


async def echo(scope: Any, receive: Any, send: Any) -> None:
    body = await read_all(receive)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


async def begin_stream(send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": sse.HEADERS})
    await send({"type": "http.response.body", "body": b"data: 1\n\n", "more_body": True})


async def test_every_response_has_our_headers() -> None:
    answer = await ask(Guard(fine), "GET", "/v1/x")
    assert answer.body == b"fine"
    assert answer.headers["x-request-id"].startswith("req_")
    for name in ("openai-processing-ms", "x-queue-ms", "x-overhead-ms"):
        assert float(answer.headers[name]) >= 0


@pytest.mark.parametrize("given", ["abc", "A-1_2.3", "x" * 48])
async def test_a_sane_request_id_is_kept(given: str) -> None:
    seen = []

    async def look(scope: Any, receive: Any, send: Any) -> None:
        seen.append(context.of(scope).record_id)
        await fine(scope, receive, send)

    for _ in range(2):
        answer = await ask(Guard(look), "GET", "/v1/x", headers={"x-request-id": given})
        assert answer.headers["x-request-id"] == given
    # A client that retries under one id still gets a ledger row each time.
    assert len(set(seen)) == 2
    assert all(record_id.startswith(given) and len(record_id) <= 64 for record_id in seen)


@pytest.mark.parametrize("given", ["", "x" * 49, "a b", "ä", "a;b", "-a", "sk-atelier-" + "0" * 46])
async def test_an_odd_request_id_is_replaced(given: str) -> None:
    answer = await ask(Guard(fine), "GET", "/v1/x", headers={"x-request-id": given})
    assert answer.headers["x-request-id"].startswith("req_")


async def test_ignored_parameters_are_named_safely() -> None:
    names = ["plain", "a b\r\nset-cookie: x", "é\ud800", "long" * 100, *(f"p{at}" for at in range(100))]

    async def ignore(scope: Any, receive: Any, send: Any) -> None:
        context.of(scope).ignored = names
        await fine(scope, receive, send)

    header = (await ask(Guard(ignore), "GET", "/v1/x")).headers["x-ignored-parameters"]
    assert header.startswith("plain, a_b__set-cookie__x, __, longlong")
    assert len(header) < 3000


@pytest.mark.parametrize("host", ["localhost", "localhost:8000", "127.0.0.1:1", "[::1]:8000"])
async def test_known_hosts_are_answered(host: str) -> None:
    assert (await ask(Guard(fine), "GET", "/v1/x", headers={"host": host})).status == 200


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8000", "localhost.evil.example", "", "[", "ä", "a b"])
async def test_other_hosts_are_not(host: str) -> None:
    answer = await ask(Guard(fine), "GET", "/v1/x", headers={"host": host})
    assert answer.status == 400
    assert "ATELIER_ALLOWED_HOSTS" in answer.error["message"]


async def test_without_a_host_the_address_decides() -> None:
    for address, status in [("127.0.0.1", 200), ("::1", 200), ("192.0.2.1", 400)]:
        exchange = Exchange(Guard(fine), "GET", "/v1/x", server=[address, 80])
        exchange.scope["headers"] = []
        async with exchange:
            assert (await exchange.finish()).status == status


async def test_a_body_arrives_whole() -> None:
    body = bytes(range(256)) * 10
    assert (await ask(Guard(echo), "POST", "/v1/x", body=body, pieces=7)).body == body


async def test_too_large_a_body_is_refused_counted_or_announced(monkeypatch: pytest.MonkeyPatch) -> None:
    # A smaller bound, so that the test need not send 64 MiB.
    monkeypatch.setattr(settings, "MAX_BODY_BYTES", 100)
    counted = await ask(Guard(echo), "POST", "/v1/x", body=b"x" * 101, pieces=5)
    announced = await ask(Guard(fine), "POST", "/v1/x", headers={"content-length": "101"})
    absurd = await ask(Guard(fine), "POST", "/v1/x", headers={"content-length": "9" * 5000})
    for answer in (counted, announced, absurd):
        assert answer.status == 413
        assert answer.error["code"] == "request_too_large"
        assert answer.error["type"] == "invalid_request_error"
    assert (await ask(Guard(echo), "POST", "/v1/x", body=b"x" * 100, pieces=5)).status == 200


@pytest.mark.parametrize("length", ["-1", "abc", "²", "1e9", ""])
async def test_an_odd_content_length_is_left_to_the_server(length: str) -> None:
    assert (await ask(Guard(fine), "POST", "/v1/x", headers={"content-length": length})).status == 200


async def test_a_crash_is_a_500_without_details(caplog: pytest.LogCaptureFixture) -> None:
    async def crash(scope: Any, receive: Any, send: Any) -> None:
        try:
            {}[SECRET]
        except KeyError as error:
            raise ValueError(f"can't do {SECRET}") from error

    answer = await ask(Guard(crash), "POST", "/v1/x")
    assert answer.status == 500
    assert answer.error["type"] == "server_error"
    assert answer.headers["x-request-id"] in answer.error["message"]
    assert SECRET not in answer.body.decode()
    assert answer.headers["x-request-id"] in caplog.text
    assert "builtins.ValueError" in caplog.text and "builtins.KeyError" in caplog.text
    assert SECRET not in caplog.text


async def test_an_api_error_is_its_json_and_headers() -> None:
    async def refuse(scope: Any, receive: Any, send: Any) -> None:
        raise errors.invalid_api_key()

    answer = await ask(Guard(refuse), "POST", "/v1/x")
    assert answer.status == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.headers["content-type"] == "application/json"
    assert int(answer.headers["content-length"]) == len(answer.body)
    assert answer.error["code"] == "invalid_api_key"


@pytest.mark.parametrize("problem", [errors.engine_error(), RuntimeError(SECRET)])
async def test_a_broken_stream_ends_with_an_error_event(problem: Exception) -> None:
    async def stream(scope: Any, receive: Any, send: Any) -> None:
        await begin_stream(send)
        raise problem

    answer = await ask(Guard(stream), "POST", "/v1/x")
    assert answer.status == 200
    assert answer.complete
    first, last = answer.events
    assert first == 1
    assert set(last["error"]) == {"message", "type", "param", "code"}
    assert b"[DONE]" not in answer.body
    assert SECRET not in answer.body.decode()


async def test_a_crash_after_the_end_changes_nothing() -> None:
    async def late(scope: Any, receive: Any, send: Any) -> None:
        await fine(scope, receive, send)
        raise RuntimeError

    assert (await ask(Guard(late), "POST", "/v1/x")).body == b"fine"


async def test_an_application_that_forgets_to_answer_is_a_500() -> None:
    async def forget(scope: Any, receive: Any, send: Any) -> None:
        pass

    assert (await ask(Guard(forget), "POST", "/v1/x")).status == 500


@pytest.mark.parametrize("streaming", [False, True])
async def test_a_disconnect_cancels_the_application_which_may_clean_up(streaming: bool) -> None:
    began, cleaned = asyncio.Event(), []

    async def work(scope: Any, receive: Any, send: Any) -> None:
        await read_all(receive)
        if streaming:
            await begin_stream(send)
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.05)
            cleaned.append(context.of(scope).abandoned)

    async with Exchange(Guard(work), "POST", "/v1/x", body=b"{}") as exchange:
        await began.wait()
        exchange.disconnect()
        await exchange.finish()
    assert cleaned == ["disconnected"]
    assert not exchange.complete


async def test_a_disconnect_after_the_answer_disturbs_nothing() -> None:
    ended = []

    async def work(scope: Any, receive: Any, send: Any) -> None:
        await read_all(receive)
        await fine(scope, receive, send)
        await asyncio.sleep(0.05)
        ended.append(True)

    await ask(Guard(work), "POST", "/v1/x")
    assert ended == [True]


async def test_a_client_that_goes_while_it_sends_gets_no_answer() -> None:
    seen = []

    async def work(scope: Any, receive: Any, send: Any) -> None:
        message = await receive()
        while message["type"] != "http.disconnect":
            message = await receive()
        seen.append(message)

    exchange = Exchange(Guard(work), "POST", "/v1/x")
    exchange._incoming = asyncio.Queue()
    exchange._incoming.put_nowait({"type": "http.request", "body": b"x", "more_body": True})
    exchange.disconnect()
    async with exchange:
        await exchange.finish()
    assert len(seen) == 1
    assert exchange.status is None


async def test_a_send_that_fails_does_not_escape(caplog: pytest.LogCaptureFixture) -> None:
    async def broken(message: Any) -> None:
        raise OSError("gone")

    exchange = Exchange(Guard(fine), "GET", "/v1/x")
    await Guard(fine)(exchange.scope, exchange._incoming.get, broken)
    assert "OSError" in caplog.text


async def test_a_server_that_cancels_us_is_obeyed_after_the_clean_up() -> None:
    began, cleaned = asyncio.Event(), asyncio.Event()

    async def work(scope: Any, receive: Any, send: Any) -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.05)
            cleaned.set()

    exchange = Exchange(Guard(work), "GET", "/v1/x")
    task = asyncio.ensure_future(Guard(work)(exchange.scope, exchange._incoming.get, exchange._send))
    await began.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert cleaned.is_set()


async def test_draining_refuses_what_is_new_and_lets_the_rest_finish(gateway: runtime.Runtime) -> None:
    began, go_on = asyncio.Event(), asyncio.Event()

    async def work(scope: Any, receive: Any, send: Any) -> None:
        began.set()
        await go_on.wait()
        await fine(scope, receive, send)

    async with Exchange(Guard(work), "GET", "/v1/x") as running:
        await began.wait()
        drain = asyncio.ensure_future(gateway.requests.drain(10, asyncio.Event()))
        await asyncio.sleep(0)
        refused = await ask(Guard(fine), "GET", "/v1/x")
        assert refused.status == 503
        assert refused.error["code"] == "draining"
        assert int(refused.headers["retry-after"]) > 0
        assert (await ask(Guard(fine), "GET", "/health")).status == 200
        assert not drain.done()
        go_on.set()
        await drain
        assert (await running.finish()).body == b"fine"


@pytest.mark.parametrize("streaming", [False, True])
async def test_draining_ends_what_takes_too_long(gateway: runtime.Runtime, streaming: bool) -> None:
    began = asyncio.Event()

    async def work(scope: Any, receive: Any, send: Any) -> None:
        if streaming:
            await begin_stream(send)
        began.set()
        await asyncio.Event().wait()

    hurry = asyncio.Event()
    hurry.set()
    async with Exchange(Guard(work), "GET", "/v1/x") as running:
        await began.wait()
        await gateway.requests.drain(1000, hurry)
        await running.finish()
    if streaming:
        assert running.events[-1]["error"]["code"] == "draining"
    else:
        assert running.status == 503


async def test_head_has_no_body() -> None:
    answer = await ask(Guard(fine), "HEAD", "/v1/x")
    assert answer.status == 200
    assert answer.complete and answer.body == b""


async def test_requests_use_the_database_beside_each_other() -> None:
    """Each has a thread of its own: with one for all, the second would never reach the barrier."""
    barrier = threading.Barrier(2, timeout=20)

    async def work(scope: Any, receive: Any, send: Any) -> None:
        await sync_to_async(barrier.wait)()
        await fine(scope, receive, send)

    answers = await asyncio.gather(*(ask(Guard(work), "GET", "/v1/x") for _ in range(2)))
    assert [answer.status for answer in answers] == [200, 200]


async def test_a_clients_root_path_does_not_move_our_paths() -> None:
    async def look(scope: Any, receive: Any, send: Any) -> None:
        assert scope["root_path"] == ""
        await fine(scope, receive, send)

    assert (await ask(Guard(look), "GET", "/v1/x", root_path="/v1")).status == 200
