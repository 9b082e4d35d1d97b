"""Every route of the server, and what becomes of those who try it: read by test_every_route.py.

A new route fails there until it has its lines here: one for each of its methods, with the statuses that each of WHO
gets, in that order. What is in braces is made anew for each of them, and is mia's, or her team's.
"""

from dataclasses import dataclass
from typing import Any

WHO = ("anonymous", "stranger", "colleague", "viewer", "owner", "root", "herself")
"""stranger: owner of another team; colleague, viewer, owner: of mia's team; root: platform admin; herself: mia."""


@dataclass(frozen=True, slots=True)
class Row:
    method: str
    path: str
    statuses: str
    """One word for each of WHO; a single one for all of them."""
    body: Any = None
    is_blind: bool = False
    """Says the same of what there is not, as every 404 does."""

    def expected(self) -> dict[str, int]:
        words = self.statuses.split()
        return {who: int(word) for who, word in zip(WHO, words * len(WHO) if len(words) == 1 else words, strict=False)}


EVERYBODY_WITH_A_KEY = "401 200 200 200 200 200 200"
NOBODY_BUT_HERSELF = "401 404 404 404 404 404 200"
NOTHING = "401 404 404 404 404 404 404"
ADMINS_ONLY = "401 403 403 403 403 200 403"

HI = [{"role": "user", "content": "hi"}]
CHAT = {"model": "scripted", "messages": HI}
DRAFT = {"metric": "tokens", "window": "day", "limit": 5}
LATER = "2090-01-01T00:00:00Z"

GATEWAY = [
    Row("GET", "/health", "200"),
    Row("GET", "/health/ready", "200"),
    Row("GET", "/health/diagnostics", EVERYBODY_WITH_A_KEY),
    Row("GET", "/v1/nothing", "404"),
    Row("GET", "/v1/capabilities", EVERYBODY_WITH_A_KEY),
    Row("GET", "/v1/key", EVERYBODY_WITH_A_KEY),
    Row("GET", "/v1/models", EVERYBODY_WITH_A_KEY),
    Row("GET", "/v1/models/scripted", EVERYBODY_WITH_A_KEY),
    Row("GET", "/v1/organization/usage/completions?start_time={hours_ago}&bucket_width=1h&group_by=user_id,project_id,"
        "api_key_id,model", EVERYBODY_WITH_A_KEY),
    Row("GET", "/v1/organization/usage/completions?start_time={hours_ago}&bucket_width=1h&group_by=model&"
        "project_ids={team}", EVERYBODY_WITH_A_KEY),
    Row("GET", "/v1/usage?group_by=model,endpoint", EVERYBODY_WITH_A_KEY),
    Row("POST", "/v1/chat/completions", EVERYBODY_WITH_A_KEY, CHAT),
    Row("POST", "/v1/completions", EVERYBODY_WITH_A_KEY, {"model": "scripted", "prompt": "hi"}),
    Row("POST", "/v1/messages", EVERYBODY_WITH_A_KEY, {**CHAT, "max_tokens": 9}),
    # The scripted engine counts and embeds nothing: what is asked is refused behind the door.
    Row("POST", "/v1/messages/count_tokens", "401 400 400 400 400 400 400", {"model": "scripted"}),
    Row("POST", "/v1/embeddings", "401 400 400 400 400 400 400", {"model": "scripted"}),
    Row("POST", "/v1/rerank", "401 400 400 400 400 400 400", {"model": "scripted"}),
    Row("POST", "/v1/audio/transcriptions", "401 400 400 400 400 400 400", {}),
    Row("POST", "/v1/audio/translations", "401 400 400 400 400 400 400", {}),
    Row("POST", "/v1/audio/speech", "401 400 400 400 400 400 400", {"model": "scripted"}),
    Row("GET", "/v1/audio/voices", EVERYBODY_WITH_A_KEY),
    Row("DELETE", "/v1/requests/{running}", NOBODY_BUT_HERSELF),
    Row("GET", "/v1/files", EVERYBODY_WITH_A_KEY),
    Row("GET", "/v1/files?after={file}", "401 400 400 400 400 400 200"),
    # What is wrong with it comes behind the door, too: it is no form.
    Row("POST", "/v1/files", "401 400 400 400 400 400 400", {}),
    Row("GET", "/v1/files/{file}", NOBODY_BUT_HERSELF),
    Row("DELETE", "/v1/files/{file}", NOBODY_BUT_HERSELF),
    Row("GET", "/v1/files/{file}/content", NOBODY_BUT_HERSELF),
    Row("GET", "/v1/batches", EVERYBODY_WITH_A_KEY),
    Row("GET", "/v1/batches?after={batch}", "401 400 400 400 400 400 200"),
    Row("POST", "/v1/batches", "401 404 404 404 404 404 200",
        {"input_file_id": "{file}", "endpoint": "/v1/chat/completions", "completion_window": "24h"}),
    Row("GET", "/v1/batches/{batch}", NOBODY_BUT_HERSELF),
    Row("POST", "/v1/batches/{batch}/cancel", NOBODY_BUT_HERSELF),
    Row("POST", "/v1/responses", EVERYBODY_WITH_A_KEY, {"model": "scripted", "input": "hi", "store": False}),
    Row("POST", "/v1/responses", "401 400 400 400 400 400 200",
        {"model": "scripted", "input": "hi", "store": False, "previous_response_id": "{response}"}),
    Row("GET", "/v1/responses/{response}", NOBODY_BUT_HERSELF),
    Row("DELETE", "/v1/responses/{response}", NOBODY_BUT_HERSELF),
    Row("GET", "/v1/responses/{response}/input_items", NOBODY_BUT_HERSELF),
    Row("POST", "/v1/responses/{response}/cancel", "401 404 404 404 404 404 400"),
]  # fmt: skip

DJANGO = [
    Row("GET", "/", "302"),
    Row("GET", "/openapi.json", "200"),
    Row("GET", "/docs/api/", "200"),
    Row("GET", "/docs/redoc/", "200"),
    # Whoever has such a link may use it: nobody guesses one, and a guess tells nothing.
    Row("GET", "/invitation/", "410"),
    Row("GET", "/invitation/guessed/", "302"),
    Row("GET", "/password/{uid}/guessed/", "200", is_blind=True),
    Row("GET", "/api/me", EVERYBODY_WITH_A_KEY),
    # teams
    Row("GET", "/api/teams/", EVERYBODY_WITH_A_KEY),
    Row("POST", "/api/teams/", "401 403 403 403 403 201 403", {"name": "{new}"}),
    Row("GET", "/api/teams/{team}/", "401 404 200 200 200 200 200"),
    Row("PATCH", "/api/teams/{team}/", "401 404 403 403 200 200 403", {"time_zone": "Europe/Berlin"}),
    Row("GET", "/api/teams/{team}/members/", "401 404 200 200 200 200 200"),
    Row("POST", "/api/teams/{team}/members/", "401 404 403 403 403 201 403", {"username": "{outsider}"}),
    Row("PATCH", "/api/teams/{team}/members/{member}", "401 404 403 403 200 200 403", {"role": "viewer"}),
    Row("DELETE", "/api/teams/{team}/members/{member}", "401 404 403 403 204 204 403"),
    Row("GET", "/api/teams/{team}/service-accounts/", "401 404 403 403 200 200 403"),
    Row("POST", "/api/teams/{team}/service-accounts/", "401 404 403 403 201 201 403", {"name": "{new}"}),
    Row("DELETE", "/api/teams/{team}/service-accounts/{service}", "401 404 403 403 204 204 403"),
    Row("GET", "/api/teams/{team}/invitations/", "401 404 403 403 200 200 403"),
    Row("POST", "/api/teams/{team}/invitations/", "401 404 403 403 201 201 403", {"role": "admin"}),
    Row("DELETE", "/api/teams/{team}/invitations/{invitation}", "401 404 403 403 204 204 403"),
    # keys
    Row("GET", "/api/keys/", EVERYBODY_WITH_A_KEY),
    Row("GET", "/api/keys/?team={team}", "401 404 403 403 200 200 403"),
    Row("POST", "/api/keys/", "401 400 201 400 201 400 201", {"team": "{team}"}),
    Row("POST", "/api/keys/", "401 400 400 400 201 201 400", {"user": "{service}"}),
    Row("POST", "/api/keys/", "401 400 400 400 400 201 201", {"user": "{mia}"}),
    Row("POST", "/api/keys/{key}/rotate", "401 404 404 404 403 201 201", {}),
    Row("POST", "/api/keys/{private}/rotate", "401 404 404 404 404 201 201", {}),
    Row("POST", "/api/keys/{key}/revoke", "401 404 404 404 200 200 200"),
    Row("POST", "/api/keys/{private}/revoke", "401 404 404 404 404 200 200"),
    Row("POST", "/api/keys/revoke-all", "401 400 400 400 400 200 400", {"user": "{member}"}),
    Row("POST", "/api/keys/revoke-all", "401 404 403 403 200 200 403", {"user": "{member}", "team": "{team}"}),
    # quotas
    Row("GET", "/api/quotas/", EVERYBODY_WITH_A_KEY),
    Row("POST", "/api/quotas/", ADMINS_ONLY, {**DRAFT, "user": "{mia}"}),
    Row("GET", "/api/quotas/{quota}", "401 404 404 404 404 200 200"),
    Row("GET", "/api/quotas/{team_quota}", "401 404 200 200 200 200 200"),
    Row("PATCH", "/api/quotas/{quota}", ADMINS_ONLY, {"limit": 1}),
    Row("DELETE", "/api/quotas/{quota}", "401 403 403 403 403 204 403"),
    Row("POST", "/api/quotas/{quota}/boosts", "401 403 403 403 403 201 403", {"amount": 1, "ends_at": LATER}),
    Row("POST", "/api/quotas/what-if", ADMINS_ONLY, {**DRAFT, "user": "{mia}"}),
    # the audit log
    Row("GET", "/api/audit/?limit=200", "401 200 403 403 200 200 403"),
    Row("GET", "/api/audit/?team={team}", "401 404 403 403 200 200 403"),
    # models
    Row("GET", "/api/models/", ADMINS_ONLY),
    Row("POST", "/api/models/", "401 403 403 403 403 201 403", {"source": "org/okapi-model"}),
    Row("POST", "/api/models/inspect", ADMINS_ONLY, {"source": "atelier-tiny"}),
    Row("GET", "/api/models/{model}", ADMINS_ONLY),
    Row("PATCH", "/api/models/{model}", ADMINS_ONLY, {"aliases": []}),
    Row("DELETE", "/api/models/{model}", "401 403 403 403 403 204 403"),
    Row("POST", "/api/models/{model}/download", "401 403 403 403 403 202 403", {}),
    Row("GET", "/api/downloads/", ADMINS_ONLY),
    Row("GET", "/api/downloads/{download}", ADMINS_ONLY),
    Row("POST", "/api/downloads/{download}/cancel", ADMINS_ONLY, {}),
    Row("GET", "/api/nothing", NOTHING),
    Row("POST", "/api/nothing", NOTHING),
    Row("PUT", "/api/nothing", NOTHING),
    Row("PATCH", "/api/nothing", NOTHING),
    Row("DELETE", "/api/nothing", NOTHING),
]  # fmt: skip

STAFF_ONLY = ("admin/",)
"""Groups of Django's routes in which whoever is no staff gets a redirection to the door, whatever there is; root sees
everything. They are tried by walking them, not by lines."""
OWN_PAGES = ("account/",)
"""Groups whose pages are about whoever has the session, and nobody else. They are walked, too."""
DOORS = {"admin/login/", "admin/logout/"}
"""Routes of these groups that are open, and show nothing."""
