"""Keys and files: there, of the right kind, and nobody else's to read."""

import stat
from collections.abc import Iterator
from pathlib import Path

from headscale.doctor.findings import Case, Finding, failed, passed, skipped, warned
from headscale.errors import Malformed
from headscale.keys import parse_private_key


async def check_files(case: Case) -> list[Finding]:
    """Private keys, the data directory, the database, the TLS key."""
    config = case.config
    return [
        *_folder("data directory", config.data_dir),
        *_key("noise key", config.noise_key_path),
        *(_key("relay key", config.derp.key_path) if config.derp is not None else ()),
        *_differ(config.noise_key_path, config.derp.key_path if config.derp else None),
        *(_secret("database file", config.sqlite_path) if config.postgres is None else ()),
        *(_secret("TLS key", config.tls.key) if config.tls is not None else ()),
    ]


def _folder(check: str, path: Path) -> Iterator[Finding]:
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        yield skipped(check, f"there is no {path} yet", "It is made when the server starts")
        return
    except OSError as problem:
        yield failed(check, f"{path}: {problem.strerror}", "Run this as the server's user, or mend the path")
        return
    if not stat.S_ISDIR(mode):
        yield failed(check, f"{path} is no directory", "Set data_dir to a directory")
    elif mode & 0o022:
        yield failed(check, f"others may write in {path} ({_shown(mode)})", f"chmod go-w {path}")
    elif mode & 0o004:
        yield warned(check, f"everybody may list {path} ({_shown(mode)})", f"chmod o-rwx {path}")
    else:
        yield passed(check, f"{path} ({_shown(mode)})")


def _key(check: str, path: Path) -> Iterator[Finding]:
    try:
        parse_private_key(path.read_text("ascii"))
    except FileNotFoundError:
        yield skipped(check, f"there is no {path} yet", "It is made when the server starts")
        return
    except OSError as problem:
        yield failed(check, f"{path} cannot be read: {problem.strerror}", "Run this as the server's user")
        return
    except (Malformed, UnicodeDecodeError):
        yield failed(
            check,
            f"{path} holds no private key",
            "Restore it from a backup: with another key every client has to log in again",
        )
        return
    yield from _secret(check, path)


def _secret(check: str, path: Path) -> Iterator[Finding]:
    try:
        mode = path.stat().st_mode
    except OSError:
        return  # told elsewhere
    if mode & 0o007:
        yield failed(
            check, f"everybody may read {path} ({_shown(mode)})", f"chmod 600 {path}, and make a new one"
        )
    elif mode & 0o070:
        yield warned(check, f"the group may use {path} ({_shown(mode)})", f"chmod 600 {path}")
    else:
        yield passed(check, f"{path} ({_shown(mode)})")


def _differ(noise: Path, relay: Path | None) -> Iterator[Finding]:
    try:
        same = relay is not None and noise.read_bytes().strip() == relay.read_bytes().strip()
    except OSError:
        return
    if same:
        yield failed(
            "relay key", f"{noise} and {relay} hold the same key", f"Delete {relay}: another one is made"
        )


def _shown(mode: int) -> str:
    return f"{stat.S_IMODE(mode):04o}"
