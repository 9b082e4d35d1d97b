"""Every setting of Atelier, read once from the environment. docs/settings.md lists them for operators."""

from importlib.metadata import version
from pathlib import Path
from typing import Any

import dj_database_url
from django.core.exceptions import ImproperlyConfigured
from django.templatetags.static import static

from atelier import env
from atelier.data_dir import default_data_dir, make_private, socket_dir, stored_secret

PROJECT_DIR = Path(__file__).resolve().parent
BASE_DIR = PROJECT_DIR.parent.parent

# --- Where things live -------------------------------------------------------------------------------------------
DATA_DIR = make_private(env.folder("ATELIER_DATA_DIR", default_data_dir(BASE_DIR)))
SOCKET_DIR = make_private(socket_dir(DATA_DIR))

# --- Security ----------------------------------------------------------------------------------------------------
# The secret also peppers the digests of API keys: whoever changes it revokes them all.
SECRET_KEY = env.text("ATELIER_SECRET_KEY") or stored_secret(DATA_DIR / "secret_key")
DEBUG = env.flag("ATELIER_DEBUG")
HOST = env.text("ATELIER_HOST", "127.0.0.1")
PORT = env.integer("ATELIER_PORT", 8000)
# Each listens on a port of its own, from PORT on.
GATEWAYS = env.integer("ATELIER_GATEWAYS", 1, minimum=1)
ALLOWED_HOSTS = ["localhost", "127.0.0.1", "[::1]", *env.words("ATELIER_ALLOWED_HOSTS")]
CSRF_TRUSTED_ORIGINS = env.words("ATELIER_CSRF_TRUSTED_ORIGINS")
if env.flag("ATELIER_BEHIND_TLS"):
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = True
# Whose X-Forwarded-For is believed: where keys are bound to networks, and where signing in is throttled by address.
TRUSTED_PROXIES = env.networks("ATELIER_TRUSTED_PROXIES")
# What links for invitations and new passwords begin with; empty: as the admin who makes one reached us.
PUBLIC_URL = env.url("ATELIER_PUBLIC_URL")
X_FRAME_OPTIONS = "DENY"
SECURE_REFERRER_POLICY = "same-origin"

# --- Gateway -----------------------------------------------------------------------------------------------------
MAX_BODY_BYTES = env.integer("ATELIER_MAX_BODY_MB", 64, minimum=1) * 1024 * 1024
REQUEST_TIMEOUT_SECONDS = env.number("ATELIER_TIMEOUT", 600, minimum=1)
# How long a request waits for an engine that is (re)starting before it is told to come back.
ENGINE_WAIT_SECONDS = env.number("ATELIER_ENGINE_WAIT", 30)
DRAIN_SECONDS = env.number("ATELIER_DRAIN_SECONDS", 30)
# What an engine may spend on one step before it counts as wedged and is killed.
ENGINE_STALL_SECONDS = env.number("ATELIER_ENGINE_STALL_SECONDS", 60, minimum=1)
DEFAULT_MAX_TOKENS = env.integer("ATELIER_DEFAULT_MAX_TOKENS", 32768, minimum=1)
# What clients may leave to us otherwise: aliases of models, and parameters without effect.
STRICT_MODEL_ID = env.flag("ATELIER_STRICT_MODEL_ID")
STRICT_PARAMETERS = env.flag("ATELIER_STRICT_PARAMETERS")
MAX_FILE_BYTES = env.integer("ATELIER_MAX_FILE_MB", 200, minimum=1) * 1024 * 1024
FILES_PER_USER_BYTES = env.integer("ATELIER_FILES_PER_USER_MB", 2048, minimum=1) * 1024 * 1024
FILES_TTL_DAYS = env.integer("ATELIER_FILES_TTL_DAYS", 30, minimum=1)
RESPONSES_TTL_DAYS = env.integer("ATELIER_RESPONSES_TTL_DAYS", 30, minimum=1)
# The ledger's rows are kept for so long, 0: for ever. Quotas of a month begin within a day, and need that day's rows.
LEAST_RETENTION_DAYS = 35
USAGE_RETENTION_DAYS = env.integer("ATELIER_USAGE_RETENTION_DAYS", 0)
if 0 < USAGE_RETENTION_DAYS < LEAST_RETENTION_DAYS:
    raise ImproperlyConfigured(
        f"ATELIER_USAGE_RETENTION_DAYS must be 0, which is for ever, or at least {LEAST_RETENTION_DAYS}."
    )
# What prices are in; a name that is shown beside costs.
CURRENCY = env.text("ATELIER_CURRENCY", "USD")
REDIS_URL = env.text("ATELIER_REDIS_URL")
# The policy of every key that has no quota of its own for it.
KEY_REQUESTS_PER_MINUTE = env.integer("ATELIER_KEY_REQUESTS_PER_MINUTE", 6_000, minimum=0)
KEY_TOKENS_PER_MINUTE = env.integer("ATELIER_KEY_TOKENS_PER_MINUTE", 10_000_000, minimum=0)

# --- Batches -----------------------------------------------------------------------------------------------------
BATCH_MOST_LINES = env.integer("ATELIER_BATCH_MOST_LINES", 50_000, minimum=1)
# Lines of one batch that run at once, at most.
BATCH_CONCURRENCY = env.integer("ATELIER_BATCH_CONCURRENCY", 4, minimum=1)
BATCHES_PER_USER = env.integer("ATELIER_BATCHES_PER_USER", 50, minimum=1)
# Where the worker asks; empty: the gateway that `serve` starts beside it.
GATEWAY_URL = env.text("ATELIER_GATEWAY_URL")

# --- Models of a hub ---------------------------------------------------------------------------------------------
# Where they go, ATELIER_MODEL_DIR, is read in inference/hub/cache.py.
# Seconds without a byte, and attempts more after one that failed, before a download is given up.
DOWNLOAD_TIMEOUT_SECONDS = env.number("ATELIER_DOWNLOAD_TIMEOUT", 60, minimum=0.1)
DOWNLOAD_RETRIES = env.integer("ATELIER_DOWNLOAD_RETRIES", 5)
# Files at once, of one model.
DOWNLOAD_CONCURRENCY = env.integer("ATELIER_DOWNLOAD_CONCURRENCY", 4, minimum=1)
# Nothing is asked of a hub. HF_HUB_OFFLINE says the same, to all tools.
OFFLINE = env.flag("ATELIER_OFFLINE")

# --- Media -------------------------------------------------------------------------------------------------------
# What requests may name beside http(s) and data URLs: files under one folder, and hosts of private networks.
MEDIA_DIR = env.existing_folder("ATELIER_MEDIA_DIR")
ALLOW_MEDIA_HOSTS = env.hosts("ATELIER_ALLOW_MEDIA_HOSTS")
MAX_IMAGE_BYTES = env.integer("ATELIER_MAX_IMAGE_MB", 20, minimum=1) * 1024 * 1024
MAX_VIDEO_BYTES = env.integer("ATELIER_MAX_VIDEO_MB", 200, minimum=1) * 1024 * 1024
MAX_AUDIO_BYTES = env.integer("ATELIER_MAX_AUDIO_MB", 25, minimum=1) * 1024 * 1024
MAX_MEDIA = env.integer("ATELIER_MAX_MEDIA", 64, minimum=1)
MEDIA_TIMEOUT_SECONDS = env.number("ATELIER_MEDIA_TIMEOUT", 20, minimum=0.1)

# --- Django ------------------------------------------------------------------------------------------------------
INSTALLED_APPS = [
    "unfold",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.humanize",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    # Before our own apps, whose admin takes the place of theirs.
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "allauth.socialaccount",
    "allauth.socialaccount.providers.openid_connect",
    "accounts",
    "inference",
    "gateway",
    "console",
    "atelier",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
ROOT_URLCONF = "atelier.urls"
ASGI_APPLICATION = "atelier.asgi.application"
# In the checkout `templates/` lies at the top; the wheel carries it inside the package.
TEMPLATE_DIR = next((p for p in (BASE_DIR / "templates", PROJECT_DIR / "templates") if p.is_dir()), None)
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [TEMPLATE_DIR] if TEMPLATE_DIR else [],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "console.notices.notices",
            ],
        },
    },
]

# --- Database ----------------------------------------------------------------------------------------------------
DATABASES: dict[str, Any] = {
    "default": dj_database_url.config(default=f"sqlite:///{DATA_DIR / 'atelier.sqlite3'}", conn_max_age=0)
}
match DATABASES["default"]["ENGINE"]:
    case "django.db.backends.sqlite3":
        DATABASES["default"]["OPTIONS"] = {
            # WAL lets readers run beside the writer; IMMEDIATE takes the write lock at BEGIN, where waiting works.
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
            "transaction_mode": "IMMEDIATE",
            "timeout": 30,
        }
    case "django.db.backends.postgresql":
        # The URL's own parameters, such as sslmode, are in it already.
        DATABASES["default"].setdefault("OPTIONS", {})["pool"] = {
            "min_size": 1,
            "max_size": env.integer("ATELIER_DATABASE_POOL", 8, minimum=1),
        }
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# --- People ------------------------------------------------------------------------------------------------------
AUTH_USER_MODEL = "accounts.User"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "account"
LOGOUT_REDIRECT_URL = "account_login"
# A link for a new password; also spent by the first sign-in after it was made.
PASSWORD_RESET_TIMEOUT = 24 * 60 * 60

# --- Signing in (django-allauth) ---------------------------------------------------------------------------------
AUTHENTICATION_BACKENDS = ["allauth.account.auth_backends.AuthenticationBackend"]
ACCOUNT_ADAPTER = "accounts.signing_in.adapters.AccountAdapter"
ACCOUNT_LOGIN_METHODS = {"username"}
ACCOUNT_SIGNUP_FIELDS = ["username*", "password1*"]
# Nothing needs a mail server: links are copied by the admin who makes them.
ACCOUNT_EMAIL_VERIFICATION = "none"
ACCOUNT_EMAIL_NOTIFICATIONS = False
ACCOUNT_SESSION_REMEMBER = True
# Per address and minute: any attempts; failed ones. Per name: failed ones.
ACCOUNT_RATE_LIMITS = {"login": "30/m/ip", "login_failed": "10/m/ip,5/5m/key"}
MFA_ADAPTER = "accounts.signing_in.adapters.MfaAdapter"
MFA_SUPPORTED_TYPES = ["totp", "recovery_codes"]
MFA_TOTP_ISSUER = "Atelier"
MFA_ALLOW_UNVERIFIED_EMAIL = True
SOCIALACCOUNT_ADAPTER = "accounts.signing_in.single_sign_on.SingleSignOnAdapter"
OIDC_ISSUER = env.url("ATELIER_OIDC_ISSUER")
OIDC_NAME = env.text("ATELIER_OIDC_NAME", "single sign-on")[:40]
# Whether who is unknown here becomes a user, without a team, by signing in.
OIDC_SIGNUP = env.flag("ATELIER_OIDC_SIGNUP")
if OIDC_ISSUER:
    SOCIALACCOUNT_PROVIDERS = {
        "openid_connect": {
            "APPS": [
                {
                    "provider_id": "sso",
                    "name": OIDC_NAME,
                    "client_id": env.needed("ATELIER_OIDC_CLIENT_ID", "ATELIER_OIDC_ISSUER"),
                    "secret": env.text("ATELIER_OIDC_CLIENT_SECRET"),
                    "settings": {"server_url": OIDC_ISSUER, "oauth_pkce_enabled": True},
                }
            ]
        }
    }
# Where failed attempts are counted: together, where there are several gateways.
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": REDIS_URL,
        "KEY_PREFIX": "atelier",
    }
    if REDIS_URL
    else {
        "BACKEND": "django.core.cache.backends.locmem.LocMemCache",
        # So many that nobody pushes his own counter out by trying other names.
        "OPTIONS": {"MAX_ENTRIES": 100_000},
    }
}

# --- Language, static files --------------------------------------------------------------------------------------
LANGUAGE_CODE = "en"
TIME_ZONE = env.time_zone("ATELIER_TIME_ZONE", "UTC")
USE_TZ = True
STATIC_URL = "static/"
STATIC_ROOT = make_private(DATA_DIR / "static")
# Served from the installed packages themselves: nothing to collect before the first start.
WHITENOISE_USE_FINDERS = True
WHITENOISE_AUTOREFRESH = DEBUG

UNFOLD = {
    "SITE_TITLE": "Atelier",
    "SITE_HEADER": "Atelier",
    "SITE_SUBHEADER": "Your team's own LLM platform",
    "SITE_SYMBOL": "hub",
    "STYLES": [lambda request: static("console/console.css")],
    "DASHBOARD_CALLBACK": "console.dashboard.dashboard",
    "SIDEBAR": {"navigation": "console.navigation.groups"},
}

# --- The API's schema --------------------------------------------------------------------------------------------
REST_FRAMEWORK = {"DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema"}
SPECTACULAR_SETTINGS = {
    "OAS_VERSION": "3.1.1",
    "TITLE": "Atelier",
    "DESCRIPTION": "A team's own LLM platform: OpenAI's and Anthropic's APIs, and what only Atelier has.",
    "VERSION": version("atelier"),
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_AUTHENTICATION": [],
    "ENUM_NAME_OVERRIDES": {"PriorityEnum": "accounts.models.priority.PriorityClass"},
    # After its own hook, which knows of Django's views only.
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "gateway.schema.document.add_gateway",
    ],
    # From the installed package: the pages work without the web, and tell nobody who reads them.
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
    "SWAGGER_UI_SETTINGS": {"deepLinking": True, "validatorUrl": None, "defaultModelsExpandDepth": 0},
}

# --- Celery ------------------------------------------------------------------------------------------------------
CELERY_BROKER_URL = REDIS_URL or "filesystem://localhost"
if not REDIS_URL:
    # One folder as both inbox and outbox is how kombu's filesystem transport is used on one host.
    QUEUE_DIR = make_private(DATA_DIR / "queue")
    CELERY_BROKER_TRANSPORT_OPTIONS = {
        "data_folder_in": str(QUEUE_DIR),
        "data_folder_out": str(QUEUE_DIR),
        "control_folder": str(make_private(DATA_DIR / "queue-control")),
    }
CELERY_TASK_IGNORE_RESULT = True
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]

# --- Logging -----------------------------------------------------------------------------------------------------
# Never a prompt, never a key: what is logged names requests by id and keys by prefix.
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)-7s %(name)s: %(message)s"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["console"], "level": env.text("ATELIER_LOG_LEVEL", "INFO").upper()},
    "loggers": {
        "httpx": {"level": "WARNING"},
        "daphne": {"level": "WARNING"},
        "django.channels": {"level": "WARNING"},
    },
}
