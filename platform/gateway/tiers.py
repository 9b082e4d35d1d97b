"""OpenAI's service tiers as classes of the engine's queue."""

from typing import Literal, cast

from accounts.authentication import Principal
from accounts.models.priority import PriorityClass, lower_of

Tier = Literal["default", "flex", "priority"]
ServiceTier = Literal["auto"] | Tier
Class = Literal["interactive", "api", "batch"]
TIERS: dict[Tier, PriorityClass] = {
    "priority": PriorityClass.INTERACTIVE,
    "default": PriorityClass.API,
    "flex": PriorityClass.BATCH,
}
TOLD = {priority.value: tier for tier, priority in TIERS.items()}
"""What an answer says of the class that it was given."""


def chosen(tier: ServiceTier | None) -> Tier | None:
    """None: whichever the key has."""
    return None if tier == "auto" else tier


def class_for(principal: Principal, tier: Tier | None) -> Class:
    """The key's own class, unless a tier was asked for; never one that is before the first that the key may have."""
    asked = principal.priority if tier is None else TIERS[tier]
    return cast(Class, lower_of(asked, principal.highest_class))
