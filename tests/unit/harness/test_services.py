"""Services: what a rule says for them, and which port each client gets."""

from typing import cast

import pytest

from harness.clients.base import Client
from harness.errors import AgentFailed, HarnessError
from harness.services import OWN_PORTS_FROM, WIDTH, Service, services


class Listener:
    """A client that gets every port but some."""

    def __init__(self, name: str, *, taken: tuple[int, ...] = ()) -> None:
        self.name = name
        self.taken = taken

    async def listen(self, port: int) -> None:
        if port in self.taken:
            raise AgentFailed("address already in use")


def listener(name: str, *, taken: tuple[int, ...] = ()) -> Client:
    return cast(Client, Listener(name, taken=taken))


def test_with_ports_of_their_own_a_service_is_one_port() -> None:
    """The same for every machine, so that a rule names it as people would."""
    assert [str(service) for service in services(["web", "db"], host=None)] == [
        str(OWN_PORTS_FROM),
        str(OWN_PORTS_FROM + 1),
    ]


def test_with_shared_ports_services_are_ranges_side_by_side() -> None:
    """A range over two services holds no port of a third."""
    web, db = services(["web", "db"], host="127.0.0.1")
    assert str(web) == f"{web.first}-{web.last}"
    assert (web.last - web.first + 1, web.last + 1) == (WIDTH, db.first)


async def test_clients_get_different_ports_of_a_range() -> None:
    """Loopback is one machine."""
    service = Service("web", range(100, 110))
    a, b = listener("a"), listener("b")
    await service.offer(a)
    await service.offer(b)
    assert (service.of(a), service.of(b)) == (100, 101)


async def test_clients_share_the_number_of_a_single_port() -> None:
    """Each has it on a machine of its own."""
    service = Service("web", range(80, 81))
    a, b = listener("a"), listener("b")
    await service.offer(a)
    await service.offer(b)
    assert (service.of(a), service.of(b)) == (80, 80)


async def test_a_port_that_something_else_has_is_passed_over() -> None:
    """The next one does."""
    service = Service("web", range(100, 110))
    client = listener("a", taken=(100, 101))
    await service.offer(client)
    assert service.of(client) == 102


async def test_a_range_without_a_free_port_is_an_error() -> None:
    """It says who gets none, and the client does not offer the service."""
    service = Service("web", range(100, 102))
    client = listener("a", taken=(100, 101))
    with pytest.raises(HarnessError, match="a gets none of the ports 100-101 for web"):
        await service.offer(client)
    with pytest.raises(HarnessError, match="a does not offer web"):
        service.of(client)
