"""Addresses of segments."""

from harness.backends.segment import PUBLIC, Segment, random_private, random_public, random_ula


def test_addresses_are_of_the_kind_that_they_are_for() -> None:
    """Clients take private ones for such; exit nodes lead to public ones; none are routed anywhere."""
    for _ in range(50):
        private, public, ula = random_private(), random_public(), random_ula()
        assert private.is_private
        assert (private.prefixlen, public.prefixlen, ula.prefixlen) == (24, 24, 64)
        assert public.subnet_of(PUBLIC)
        assert str(ula).startswith("fd")


def test_two_draws_seldom_meet() -> None:
    """Runs beside each other have networks of their own."""
    assert len({random_private() for _ in range(20)}) > 15


def test_a_segment_knows_what_it_lacks() -> None:
    """A LAN without IPv4 has no prefix of it."""
    six = Segment("lan", None, random_ula())
    assert six.prefix(4) is None
    assert six.prefix(6) is six.ipv6
