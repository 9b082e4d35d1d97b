"""The Django project: settings, URLs, ASGI entry point, Celery app and the `atelier` command."""
