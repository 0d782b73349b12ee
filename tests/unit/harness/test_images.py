"""The provider chain for client images."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from harness.cache import Cache
from harness.errors import Missing
from harness.images import ClientImages
from harness.progress import silent
from harness.provision import Binaries, Provisioner
from harness.versions import RELEASES, Release

OLDEST, NEWEST = RELEASES[0], RELEASES[-1]


class FakeEngine:
    """Has some images, and perhaps a registry behind it."""

    def __init__(self, *, has: set[str] | None = None, registry: set[str] | None = None) -> None:
        self.has = has or set()
        self.registry = registry or set()
        self.asked: list[str] = []

    def has_image(self, reference: str) -> bool:
        return reference in self.has or reference.startswith("headscale-harness-base:")

    def offered(self, reference: str, *, patience: timedelta) -> bool:
        self.asked.append(reference)
        return reference in self.registry

    def pull(self, reference: str) -> None:
        self.has.add(reference)

    def import_rootfs(self, archive: Path, reference: str) -> None:
        raise AssertionError("the base is there")


class FakeProvisioner(Provisioner):
    """Has every binary already."""

    def client(self, release: Release) -> Binaries:
        return Binaries(Path("/cache/tailscale"), Path("/cache/tailscaled"))


def images(engine: FakeEngine, tmp_path: Path, **environ: str) -> ClientImages:
    cache = Cache(tmp_path, report=silent)
    return ClientImages(engine, FakeProvisioner(cache, report=silent), cache, report=silent, environ=environ)


def test_the_variable_names_the_image(tmp_path: Path) -> None:
    """HARNESS_CLIENT_IMAGE wins, with the release filled in, and nobody is asked."""
    engine = FakeEngine(has={"mine:1.80.3"})
    found = images(engine, tmp_path, HARNESS_CLIENT_IMAGE="mine:{version}").find(OLDEST)
    assert (found.reference, found.mounts, engine.asked) == ("mine:1.80.3", {}, [])


def test_a_client_with_build_tags_is_never_the_published_one(tmp_path: Path) -> None:
    """Nobody publishes what only a scenario wants."""
    tagged = replace(NEWEST, tags=("ts_debug_websockets",))
    engine = FakeEngine(registry={f"tailscale/tailscale:v{NEWEST.version}"})
    found = images(engine, tmp_path, HARNESS_CLIENT_IMAGE="mine:{version}").find(tagged)
    assert found.reference.startswith("headscale-harness-base:")
    assert set(found.mounts) == {Path("/cache/tailscale"), Path("/cache/tailscaled")}


def test_a_named_image_that_is_nowhere_is_an_error(tmp_path: Path) -> None:
    """The chain does not quietly go on past what the user asked for."""
    with pytest.raises(Missing, match="neither the engine nor a registry has the image mine:1"):
        images(FakeEngine(), tmp_path, HARNESS_CLIENT_IMAGE="mine:1").find(OLDEST)


def test_the_official_image_is_pulled_where_a_registry_answers(tmp_path: Path) -> None:
    """Its own programs are used; nothing is mounted."""
    official = "tailscale/tailscale:v1.80.3"
    engine = FakeEngine(registry={official})
    found = images(engine, tmp_path).find(OLDEST)
    assert (found.reference, found.mounts) == (official, {})
    assert official in engine.has


def test_without_a_registry_binaries_are_mounted_into_the_base(tmp_path: Path) -> None:
    """One base image serves every release."""
    chain = images(FakeEngine(), tmp_path)
    old, new = chain.find(OLDEST), chain.find(NEWEST)
    assert old.reference == new.reference
    assert old.mounts == {
        Path("/cache/tailscale"): "/usr/local/bin/tailscale",
        Path("/cache/tailscaled"): "/usr/local/bin/tailscaled",
    }


def test_a_registrys_no_is_remembered(tmp_path: Path) -> None:
    """Without a registry the patience is paid once, not once a release."""
    engine = FakeEngine()
    chain = images(engine, tmp_path)
    chain.find(OLDEST)
    chain.find(NEWEST)
    assert len(engine.asked) == 1
