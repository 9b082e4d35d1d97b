"""The doctor's findings as Django's own, for `manage.py check --deploy`."""

from typing import Any

from django.core.checks import CheckMessage, Error, Warning, register

from atelier.doctor import CHECKS, examine

IDS = {name: f"atelier.{number:03}" for number, name in enumerate(CHECKS, 1)}


@register("atelier", deploy=True)
def doctor(**_: Any) -> list[CheckMessage]:
    kinds = {"fail": Error, "warning": Warning}
    return [
        kinds[finding.status](f"{name}: {finding.detail}", hint=finding.advice or None, id=IDS[name])
        for name, finding in examine().items()
        if finding.status in kinds
    ]
