"""The configuration: what it says that has no effect, and what does not fit together."""

from urllib.parse import urlsplit

from headscale.config.file import BadConfig
from headscale.doctor.findings import Case, Finding, failed, passed, warned


def unusable(problem: BadConfig) -> list[Finding]:
    """Every complaint of a configuration that cannot be used."""
    return [
        failed("configuration", str(complaint), "Mend it; `headscale configtest` checks again")
        for complaint in problem.complaints
    ]


async def check_configuration(case: Case) -> list[Finding]:
    """A configuration that can be used."""
    config = case.config
    found = [
        passed(
            "configuration", f"{config.source or 'defaults and HEADSCALE_* variables'}: every key is known"
        )
    ]
    found += [
        warned(
            "configuration", f"{name} has no effect in this version", f"Remove {name}, or do not rely on it"
        )
        for name in config.later
    ]
    url = urlsplit(config.tailnet.server_url)
    if url.hostname in ("127.0.0.1", "localhost", "::1"):
        found.append(
            warned(
                "server_url",
                f"{config.tailnet.server_url} is this machine alone",
                "Set server_url to what other machines reach it by",
            )
        )
    has_certificate = config.tls is not None or config.acme is not None
    if url.scheme == "http" and has_certificate:
        found.append(
            warned(
                "server_url", "it says http, but the server has a certificate", "Write https:// in server_url"
            )
        )
    if url.scheme == "https" and not has_certificate:
        found.append(
            passed("server_url", "it says https and the server has no certificate: a proxy has to end TLS")
        )
    if config.unix_socket_mode & 0o007:
        found.append(
            failed(
                "socket mode",
                f"everybody on this machine may administer the tailnet ({config.unix_socket_mode:04o})",
                'Set unix_socket_permission to "0770"',
            )
        )
    return found
