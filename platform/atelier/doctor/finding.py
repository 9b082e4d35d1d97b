from dataclasses import dataclass
from typing import Literal

Status = Literal["pass", "warning", "fail", "unknown"]


@dataclass(frozen=True, slots=True)
class Finding:
    """unknown: nobody can look from here, or there is nothing to look at."""

    status: Status
    detail: str
    advice: str = ""
    """What to do about it; empty where there is nothing to be done."""
