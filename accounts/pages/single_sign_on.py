"""The way to the provider and back, where the provider may be away or talk nonsense."""

import logging
from collections.abc import Callable
from functools import wraps

from allauth.socialaccount.adapter import get_adapter
from allauth.socialaccount.providers.openid_connect import views
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from requests import RequestException

from accounts.signing_in.refusals import refused

logger = logging.getLogger(__name__)

View = Callable[[HttpRequest, str], HttpResponse]


def tolerant(view: View) -> View:
    """allauth answers 500 where the provider can't be reached, or its configuration is not what it should be."""

    @wraps(view)
    def guarded(request: HttpRequest, provider_id: str) -> HttpResponse:
        try:
            return view(request, provider_id)
        except (RequestException, ValueError, KeyError) as error:
            # What a request raises names addresses alone; anything else may quote an answer.
            what = str(error) if isinstance(error, RequestException) else type(error).__name__
            logger.warning("Signing in at %s failed: %s", settings.OIDC_ISSUER, what)
            get_adapter().on_authentication_error(request, None, exception=error)
            why = f"{settings.OIDC_NAME} could not be reached, or was not understood. Ask an admin to look at the log."
            return refused(request, why, status=502)

    return guarded


login = tolerant(views.login)
callback = tolerant(views.callback)
