"""What a key may be used for, and from where."""

from dataclasses import replace
from typing import Any

from accounts.addresses import Address, client_address
from accounts.authentication import Principal
from accounts.batches import tickets
from accounts.models.priority import PriorityClass
from gateway import errors
from gateway.runtime import Runtime
from inference.registry import ServedModel


async def principal_of(gateway: Runtime, key: str, path: str) -> Principal | None:
    """Whose request it is: of an API key, or of the key behind a worker's ticket. None: nobody's."""
    if not tickets.is_ticket(key):
        return await gateway.keys.resolve(key)
    holder = await gateway.database.run(tickets.holder_of, key)
    if holder is None or holder.endpoint != path:
        return None
    principal = await gateway.keys.resolve_digest(holder.digest)
    # A worker runs where it runs: the networks have been checked when the batch was made.
    return (
        None if principal is None else replace(principal, networks=(), highest_class=PriorityClass.BATCH, is_batch=True)
    )


def check(principal: Principal, needed: str, scope: dict[str, Any]) -> None:
    """Raises ApiError for a key without that scope, or from elsewhere than it may come from."""
    if needed not in principal.scopes:
        raise errors.missing_scope(needed)
    if principal.networks and not principal.may_come_from(address_of(scope)):
        raise errors.wrong_network()


async def model_for(gateway: Runtime, principal: Principal, name: str) -> ServedModel:
    """The model of this name. Raises ApiError: the same for one that is not there, and for one that this key may not
    use. For a key that may not use the default one, `default` is the first that it may."""
    model = await gateway.registry.resolve(name)
    if model is not None and principal.may_use(model.name):
        return model
    default = await gateway.registry.default()
    if model is not None and model is default and name == "default" and (own := await models_of(gateway, principal)):
        return own[0]
    raise errors.model_not_found(name)


async def check_open(gateway: Runtime, principal: Principal) -> None:
    """Whether something new may be generated. Raises ApiError while the platform is being worked on."""
    maintenance = await gateway.maintenance.current()
    if maintenance is not None and not (maintenance.lets_admins_in and principal.is_admin):
        raise errors.maintenance(maintenance.sentence(), maintenance.until)


async def models_of(gateway: Runtime, principal: Principal) -> list[ServedModel]:
    """Those that this key may use, the default one first."""
    return [model for model in await gateway.registry.models() if principal.may_use(model.name)]


def address_of(scope: dict[str, Any]) -> Address | None:
    """Where a request comes from; None where nobody knows."""
    forwarded = [value.decode("latin-1") for name, value in scope["headers"] if name == b"x-forwarded-for"]
    return client_address((scope.get("client") or [""])[0] or "", forwarded)
