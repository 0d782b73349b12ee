"""Which releases are under test and how people name them."""

import pytest

from harness.versions import RELEASES, RUST, Release, UnknownVersion, resolve, subsets


def names(text: str) -> list[str]:
    return [str(r) for r in resolve(text)]


def test_a_list_keeps_its_order_and_names_each_release_once() -> None:
    """`newest,oldest,1.80` is the newest, then the oldest once."""
    assert names("newest, oldest,1.80") == ["1.102.4", "1.80.3"]


@pytest.mark.parametrize("text", ["1.92", "1.92.5", "v1.92.5", "middle"])
def test_a_minor_and_a_subset_stand_for_the_newest_known_patch(text: str) -> None:
    """All these are the same release."""
    assert names(text) == ["1.92.5"]


def test_all_is_every_release_and_the_rust_client() -> None:
    """`all` leaves nothing out."""
    assert resolve("all") == (*RELEASES, RUST)


def test_rust_prints_so_that_nobody_takes_it_for_a_go_release() -> None:
    """The Rust client's versions live in another numbering."""
    assert names("rust") == [f"rust-{RUST.version}"]


@pytest.mark.parametrize("text", ["1.79", "1.8", "latest", "1.80.2"])
def test_an_unknown_version_names_what_is_known(text: str) -> None:
    """The message helps: it lists releases and subsets."""
    with pytest.raises(UnknownVersion, match=r"1\.80\.3.*oldest, middle, newest, all, rust"):
        resolve(text)


@pytest.mark.parametrize("text", ["", " , "])
def test_an_empty_list_is_an_error(text: str) -> None:
    """No version at all would run no test and look green."""
    with pytest.raises(UnknownVersion, match="no client version"):
        resolve(text)


def test_releases_are_listed_oldest_first_with_rising_capability_versions() -> None:
    """The order is what `oldest` and `newest` stand on."""
    keys = [tuple(map(int, r.version.split("."))) for r in RELEASES]
    assert keys == sorted(keys)
    capabilities = [r.capability for r in RELEASES]
    assert capabilities == sorted(capabilities)


def test_minors_are_unique() -> None:
    """One release stands for each minor."""
    assert len({r.minor for r in RELEASES}) == len(RELEASES)


def test_the_minor_drops_the_patch() -> None:
    """1.102.4 belongs to 1.102."""
    assert Release("go", "1.102.4", 142).minor == "1.102"


def test_every_subset_has_a_member() -> None:
    """An empty subset would run no test and look green."""
    assert all(subsets().values())
