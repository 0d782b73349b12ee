"""Where a server on this host listens."""

import shutil
from datetime import timedelta

from harness.servers.local import LocalSettings, local_settings


def listeners(settings: LocalSettings) -> set[str]:
    return {
        value.rpartition(":")[0] for name, value in settings.variables.items() if name.endswith("LISTEN_ADDR")
    }


def test_a_server_listens_at_one_address_or_at_all_and_is_known_by_one() -> None:
    """With `everywhere` the control port, the relay and STUN are at every address; the URL stays the same."""
    for everywhere, hosts in ((False, {"127.0.0.1"}), (True, {""})):
        settings = local_settings("127.0.0.1", ephemeral_timeout=timedelta(minutes=1), everywhere=everywhere)
        shutil.rmtree(settings.data)
        assert listeners(settings) == hosts
        assert settings.url == f"http://127.0.0.1:{settings.port}"
