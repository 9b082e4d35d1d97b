"""Who reaches the platform, under which names, and what they may claim."""

from django.conf import settings

from atelier import env
from atelier.doctor.finding import Finding
from gateway.management.commands.gateway import is_loopback


def check_hosts() -> Finding:
    own = env.words("ATELIER_ALLOWED_HOSTS")
    if "*" in own:
        return Finding(
            "fail", "Every host name is allowed: a web page may make its visitors' browsers talk to this server.",
            "Name the hosts in ATELIER_ALLOWED_HOSTS.",
        )  # fmt: skip
    if not is_loopback(settings.HOST) and not own:
        return Finding(
            "warning", f"It listens on {settings.HOST}, and answers to no name that others could use.",
            "Name this machine in ATELIER_ALLOWED_HOSTS.",
        )  # fmt: skip
    return Finding("pass", f"It listens on {settings.HOST} and answers to {', '.join(settings.ALLOWED_HOSTS)}.")


def check_tls() -> Finding:
    behind, local = settings.SESSION_COOKIE_SECURE, is_loopback(settings.HOST)
    if not behind and not local:
        return Finding(
            "warning", "API keys and passwords travel in the clear.",
            "Put a proxy with TLS in front, listen on 127.0.0.1 and set ATELIER_BEHIND_TLS.",
        )  # fmt: skip
    if behind and not local:
        return Finding(
            "warning", f"It listens on {settings.HOST}: whoever gets past the proxy may claim to come by TLS.",
            "Listen on 127.0.0.1, or let a firewall keep all but the proxy away.",
        )  # fmt: skip
    return Finding("pass", "A proxy in front speaks it." if behind else "Only this machine gets in; none is needed.")


def check_proxies() -> Finding:
    wide = [str(network) for network in settings.TRUSTED_PROXIES if not network.prefixlen]
    if wide:
        return Finding(
            "fail", f"Anybody is believed to be a proxy ({', '.join(wide)}): clients may invent their address.",
            "Name the proxies' own addresses in ATELIER_TRUSTED_PROXIES.",
        )  # fmt: skip
    if settings.SESSION_COOKIE_SECURE and not settings.TRUSTED_PROXIES:
        return Finding(
            "warning", "There is a proxy in front and none is trusted: everybody seems to come from its address.",
            "Set ATELIER_TRUSTED_PROXIES, such as 127.0.0.1.",
        )  # fmt: skip
    trusted = ", ".join(map(str, settings.TRUSTED_PROXIES))
    return Finding("pass", f"{trusted or 'No proxy'} is believed who a request comes from.")


NETWORK = {"host names": check_hosts, "TLS": check_tls, "trusted proxies": check_proxies}
