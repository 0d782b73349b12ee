"""What an import cannot do by itself: the server's keys, and a policy that is kept in a file."""

from pathlib import Path

from headscale.config.settings import Config, PolicyMode
from headscale.errors import HeadscaleError
from headscale.keyfiles import read_key
from headscale.keys import PrivateKey
from headscale.peer.settings import PeerSettings


def advice(config: Config, peer: PeerSettings | None, *, has_policy: bool) -> tuple[str, ...]:
    """What to do besides, one text a matter; empty when nothing is."""
    found = [
        _about_key(
            "Noise key",
            "noise.private_key_path",
            config.noise_key_path,
            peer.noise_key if peer else None,
            otherwise="every client has to log in again",
        )
    ]
    if config.derp is not None:
        found.append(
            _about_key(
                "key of the embedded relay",
                "derp.server.private_key_path",
                config.derp.key_path,
                peer.derp_key if peer else None,
                otherwise="clients that kept the old relay in mind have to find the new one",
            )
        )
    found.append(_about_policy(config, peer, has_policy=has_policy))
    return tuple(text for text in found if text)


def _about_key(what: str, setting: str, ours: Path, theirs: Path | None, *, otherwise: str) -> str:
    if theirs is None:
        named = f"the Go headscale's ({setting} of its configuration)"
        if ours.exists():
            return f"{what}: make sure that {ours} is {named}, or {otherwise}"
        return f"{what}: there is no {ours}. Copy {named} there, or {otherwise}"
    if ours.exists() and _key(ours) == _key(theirs) is not None:
        return ""
    if ours.exists():
        return f"{what}: {ours} is another one than the Go headscale's {theirs}: copy that over it, or {otherwise}"
    return f"{what}: copy the Go headscale's, or {otherwise}: install -m 600 {theirs} {ours}"


def _key(path: Path) -> PrivateKey | None:
    try:
        return read_key(path)
    except (HeadscaleError, FileNotFoundError):
        return None


def _about_policy(config: Config, peer: PeerSettings | None, *, has_policy: bool) -> str:
    is_file = config.policy.mode is PolicyMode.FILE
    if is_file and config.policy.path is not None:
        unused = "; the one in the Go headscale's database is kept, and not in force" if has_policy else ""
        return f"policy: it is in {config.policy.path} (policy.path){unused}"
    if peer is not None and peer.policy is not None:
        return (
            f"policy: the Go headscale reads it from {peer.policy}: set policy.path to that, or keep it in the "
            f"database with `headscale policy set -f {peer.policy}` once the server runs"
        )
    if has_policy:
        return ""
    return (
        "policy: there is none in the database, and without one everybody reaches everybody; if the Go headscale "
        "has policy.mode: file, set policy.path to its file"
    )
