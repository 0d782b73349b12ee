"""The `acme_*` and `tls_letsencrypt_*` keys: a certificate from an authority, for one name."""

from pathlib import Path
from typing import Final

from headscale.config.dns import Values
from headscale.config.settings import ACMESettings, Challenge, Listen
from headscale.sources.extrarecords import domain_name

DIRECTORY: Final = "https://acme-v02.api.letsencrypt.org/directory"
HOSTNAME: Final = "tls_letsencrypt_hostname"
FILES: Final = ("tls_cert_path", "tls_key_path")


def acme(values: Values, data_dir: Path) -> ACMESettings | None:
    """The settings; None when no name is given. Whatever is wrong with them becomes complaints."""
    hostname: str = values.get(HOSTNAME) or ""
    if not hostname:
        return None
    for file in FILES:
        if values.get(file):
            values.complain(file, f"there are files or {HOSTNAME}, not both")
    name = domain_name(hostname)
    if name is None:
        values.complain(HOSTNAME, f"{hostname!r} is no host name")
        return None
    if "." not in name:
        values.complain(HOSTNAME, f"{name!r} is no public name: authorities issue for names with a dot")
    url: str = values.get("acme_url") or DIRECTORY
    if not url.startswith("https://"):
        values.complain("acme_url", f"must be an https:// URL, got {url!r}")
    return ACMESettings(
        hostname=name,
        directory=url,
        email=values.get("acme_email") or "",
        cache=values.get("tls_letsencrypt_cache_dir") or data_dir / "acme",
        challenge=Challenge((values.get("tls_letsencrypt_challenge_type") or Challenge.HTTP).lower()),
        listen=values.get("tls_letsencrypt_listen") or Listen(host="", port=80),
    )
