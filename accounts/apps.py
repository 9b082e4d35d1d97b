from django.apps import AppConfig


class AccountsConfig(AppConfig):
    name = "accounts"

    def ready(self) -> None:
        # Needs the models.
        from accounts.signing_in import receivers

        receivers.connect()
