from django.apps import AppConfig


class AtelierConfig(AppConfig):
    name = "atelier"

    def ready(self) -> None:
        # Makes our Celery app the current one: a task asked for anywhere then goes to our broker.
        import atelier.celery
        import atelier.doctor.deploy_checks  # noqa: F401
