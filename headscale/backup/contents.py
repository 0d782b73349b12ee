"""Which files a server needs to go on as itself, and where its configuration has them.

| role | why it is needed |
|---|---|
| database | users, nodes, keys, policies: the SQLite file, or PostgreSQL's records as one |
| noise_key | clients know the server by it; with another one all of them log in again |
| derp_key | clients know the embedded relay by it |
| derp_certificate, derp_certificate_key | clients pin the certificate that the relay made for itself |
| policy_file | the policy, where it is kept in a file |
| configuration | to look at; it is not put in place, because it says where everything is |

The server's own TLS certificate is not among them: it comes from an authority, and whoever renews it keeps it.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from headscale.config.settings import Config, PolicyMode

DATABASE: Final = "database"
CONFIGURATION: Final = "configuration"
# The names of the files in an archive.
NAMES: Final[Mapping[str, str]] = {
    DATABASE: "db.sqlite",
    "noise_key": "noise_private.key",
    "derp_key": "derp_server_private.key",
    "derp_certificate": "derp.crt",
    "derp_certificate_key": "derp.key",
    "policy_file": "policy.hujson",
    CONFIGURATION: "config.yaml",
}
# What lies beside a SQLite file and belongs to it.
BESIDE: Final = ("-wal", "-shm", "-journal")


def places(config: Config) -> dict[str, Path]:
    """Each role's file, whether it exists or not. With PostgreSQL the records are in none of them."""
    found = {"noise_key": config.noise_key_path}
    if config.postgres is None:
        found = {DATABASE: config.sqlite_path, **found}
    if config.derp is not None:
        found["derp_key"] = config.derp.key_path
        found["derp_certificate"] = config.derp.tls_dir / "derp.crt"
        found["derp_certificate_key"] = config.derp.tls_dir / "derp.key"
    if config.policy.mode is PolicyMode.FILE and config.policy.path is not None:
        found["policy_file"] = config.policy.path
    return found
