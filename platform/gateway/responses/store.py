"""What is kept of responses. Its owner is the user of the key that made it, with keys for the same team."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

import msgspec
from django.conf import settings
from django.db.models import QuerySet
from django.utils import timezone

from accounts.authentication import Principal
from accounts.models import StoredResponse
from gateway.answers import encode
from gateway.responses.items import Ids, Item
from gateway.responses.response import Response
from gateway.runtime import Runtime


@dataclass(frozen=True, slots=True)
class Kept:
    """A stored response, as far as later ones need it."""

    input: list[Item]
    output: list[Item]


class _Output(msgspec.Struct):
    output: list[Item]


read_input = msgspec.json.Decoder(list[Item]).decode
read_output = msgspec.json.Decoder(_Output).decode


async def keep(gateway: Runtime, principal: Principal, response: Response, items: list[Item]) -> None:
    """One statement. Raises django.db.Error."""
    await gateway.database.run(_keep, principal, response, items)


async def recall(gateway: Runtime, principal: Principal, ids: Iterable[str]) -> dict[str, Kept]:
    """Those of these that the principal owns, by id. At most one query."""
    return await gateway.database.run(_recall, principal, ids)


async def response_of(gateway: Runtime, principal: Principal, id: str) -> bytes | None:
    """Its JSON. None: there is none that the principal owns; so the next."""
    return await gateway.database.run(_text, principal, id, "response")


async def input_of(gateway: Runtime, principal: Principal, id: str) -> list[msgspec.Raw] | None:
    """The JSON of each of its input items."""
    text = await gateway.database.run(_text, principal, id, "input_items")
    return None if text is None else msgspec.json.decode(text, type=list[msgspec.Raw])


async def forget(gateway: Runtime, principal: Principal, id: str) -> bool:
    """Whether there was one to delete."""
    return await gateway.database.run(_forget, principal, id)


def _keep(principal: Principal, response: Response, items: list[Item]) -> None:
    now = timezone.now()
    StoredResponse.objects.create(
        response_id=response.id,
        user_id=principal.user_id,
        team_id=principal.team_id,
        input_items=encode(items).decode(),
        response=encode(response).decode(),
        created_at=now,
        expires_at=now + timedelta(days=settings.RESPONSES_TTL_DAYS),
    )


def _recall(principal: Principal, ids: Iterable[str]) -> dict[str, Kept]:
    rows = _owned(principal, ids).values_list("response_id", "input_items", "response")
    return {id: Kept(read_input(items), read_output(response).output) for id, items, response in rows}


def _text(principal: Principal, id: str, column: str) -> bytes | None:
    text = _owned(principal, [id]).values_list(column, flat=True).first()
    return None if text is None else text.encode()


def _forget(principal: Principal, id: str) -> bool:
    deleted, _ = _owned(principal, [id]).delete()
    return deleted > 0


def _owned(principal: Principal, ids: Iterable[str]) -> "QuerySet[StoredResponse]":
    # What can't be an id need not be asked for; PostgreSQL would even fail on a null character.
    sane = [id for id in ids if Ids.RESPONSE.fullmatch(id)]
    owned = StoredResponse.objects.live().owned_by(user_id=principal.user_id, team_id=principal.team_id)
    return owned.filter(response_id__in=sane)
