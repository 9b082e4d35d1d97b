"""One line of a batch and the gateway's API: what it says, and what that means for the line."""

from dataclasses import dataclass

import httpx
import msgspec
from django.conf import settings
from msgspec import Struct

from accounts.batches import tickets
from accounts.batches.progress import NO_TOKENS, Tokens
from accounts.models import Batch
from gateway.batches.answers import LineResponse, tokens_of

QUOTA_SECONDS = 300.0
"""Until a quota that is used up is asked again: it may have been raised, or another period begun."""
MODEL_SECONDS = 30.0
"""The same of a model that was served when the batch began and now is not."""
SHORTEST_SECONDS = 0.25
MARGIN_SECONDS = 30.0
"""Beyond what the gateway itself gives a request."""


@dataclass(frozen=True, slots=True)
class Answered:
    """The line's answer, whatever it says."""

    response: LineResponse
    tokens: Tokens = NO_TOKENS

    @property
    def is_error(self) -> bool:
        return self.response.status_code != httpx.codes.OK


@dataclass(frozen=True, slots=True)
class NotNow:
    """Nothing of it ran; the same again after so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Died:
    """An engine or a gateway died on it, or failed; what was said of that, if anything."""

    response: LineResponse | None = None


@dataclass(frozen=True, slots=True)
class NotAllowed:
    """The gateway does not know us: the key is gone, or the lease."""


Outcome = Answered | NotNow | Died | NotAllowed


class _Said(Struct, frozen=True):
    code: str | None = None


class _Error(Struct):
    error: _Said = _Said()


read_error = msgspec.json.Decoder(_Error).decode


def client() -> httpx.AsyncClient:
    patience = settings.REQUEST_TIMEOUT_SECONDS + settings.ENGINE_WAIT_SECONDS + MARGIN_SECONDS
    return httpx.AsyncClient(
        base_url=settings.GATEWAY_URL or f"http://127.0.0.1:{settings.PORT}",
        # The one name that every gateway goes by, whichever address it is reached at.
        headers={"host": "localhost", "content-type": "application/json"},
        timeout=httpx.Timeout(patience, connect=5.0),
        # What the environment says of proxies and of netrc is not for us.
        trust_env=False,
    )


async def ask(http: httpx.AsyncClient, batch: Batch, number: int, body: bytes) -> Outcome:
    """Never raises but when cancelled, which ends the request at the gateway, too."""
    headers = {"authorization": f"Bearer {tickets.issue(batch)}", "x-request-id": f"{batch.batch_id}.{number}"}
    try:
        answer = await http.post(batch.endpoint, content=body, headers=headers)
    except (httpx.ConnectError, httpx.ConnectTimeout):
        return NotNow(1.0)
    except httpx.HTTPError:
        return Died()
    return outcome_of(answer)


def outcome_of(answer: httpx.Response) -> Outcome:
    response = LineResponse(answer.status_code, answer.headers.get("x-request-id", ""), msgspec.Raw(answer.content))
    try:
        if answer.status_code == httpx.codes.OK:
            return Answered(response, tokens_of(answer.content))
        code = read_error(answer.content).error.code
    except (msgspec.DecodeError, UnicodeDecodeError):
        # Not one of our answers.
        return Died()
    match answer.status_code, code:
        case 401, _:
            return NotAllowed()
        case 404, "model_not_found":
            return NotNow(MODEL_SECONDS)
        case 429, "insufficient_quota":
            return NotNow(QUOTA_SECONDS)
        case ((429 | 503), _):
            return NotNow(max(SHORTEST_SECONDS, _hint(answer)))
        case status, _ if status >= 500 and status != httpx.codes.GATEWAY_TIMEOUT:
            return Died(response)
    # A 504 as well: the same again would run into the same limit.
    return Answered(response)


def _hint(answer: httpx.Response) -> float:
    """Seconds that the gateway says to wait."""
    text = answer.headers.get("retry-after-ms", "")
    return int(text) / 1000 if text.isascii() and text.isdigit() and len(text) < 12 else 1.0
