"""Whether an installation is fit for use: settings, surroundings, services. Each check looks at one thing and says what
it found, and what to do about it; none changes anything, and none says a secret. `manage.py check --deploy` runs them
too, as part of Django's own checks."""

from collections.abc import Callable

from django.db import OperationalError, ProgrammingError

from atelier.doctor.finding import Finding
from atelier.doctor.network import NETWORK
from atelier.doctor.services import SERVICES
from atelier.doctor.surroundings import SURROUNDINGS

CHECKS = {**SERVICES, **NETWORK, **SURROUNDINGS}
ASK_THE_DATABASE = {"migrations", "models", "time zones"}


def examine() -> dict[str, Finding]:
    """What each check has found, by its name, in their order."""
    found: dict[str, Finding] = {}
    for name, check in CHECKS.items():
        if name in ASK_THE_DATABASE and found["database"].status == "fail":
            found[name] = Finding("unknown", "The database can't be asked.")
        else:
            found[name] = _found(check)
    return found


def _found(check: Callable[[], Finding]) -> Finding:
    try:
        return check()
    except ProgrammingError:
        return Finding("unknown", "The tables are not there yet.")
    except OperationalError as error:
        return Finding("unknown", f"The database can't be asked: {error}".splitlines()[0])
    except Exception as error:
        # One that can't look must not keep the others from it; what it wanted to know may be the trouble.
        return Finding("fail", f"It could not be looked at: {type(error).__name__}: {error}".splitlines()[0])
