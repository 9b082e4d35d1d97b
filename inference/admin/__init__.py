"""The admin's pages of models, their engines and shared prefixes."""

from inference.admin.engines import EngineAdmin
from inference.admin.models import ModelPage
from inference.admin.prefixes import SharedPrefixAdmin

__all__ = ["EngineAdmin", "ModelPage", "SharedPrefixAdmin"]
