"""Logs: what an operator reads, and what never stands there."""

import asyncio
import io
import json
import logging
import sys
from collections.abc import Iterator

import pytest

from headscale import logs
from headscale.api.v2.webhooks import draw_secret as draw_webhook_secret
from headscale.keys import PrivateKey
from headscale.state.credentials import draw_secret
from headscale.state.oauth import TOKEN_KIND, draw_client_secret

KEY = draw_secret(bytes(range(38)))
PRIVATE = PrivateKey(bytes(range(32)))


@pytest.fixture
def root() -> Iterator[logging.Logger]:
    """The root logger, put back afterwards."""
    logger = logging.getLogger()
    handlers, level = logger.handlers[:], logger.level
    yield logger
    logger.handlers[:] = handlers
    logger.setLevel(level)


def test_a_pre_auth_key_keeps_its_prefix_only() -> None:
    text = logs.redact(f"refused {KEY.reveal()} twice {KEY.reveal()}")
    assert text.count(f"hskey-auth-{KEY.prefix}-[redacted]") == 2
    assert KEY.secret not in text


def test_an_api_key_keeps_its_prefix_only() -> None:
    key = draw_secret(bytes(range(38)), kind="api")
    assert logs.redact(key.reveal()) == f"hskey-api-{key.prefix}-[redacted]"
    assert key.secret not in repr(key)


def test_secrets_of_oauth_clients_and_webhooks_are_taken_out() -> None:
    client = draw_client_secret(bytes(range(38)))
    assert logs.redact(client.reveal()) == f"tskey-client-{client.prefix}-[redacted]"
    token = draw_secret(bytes(range(38)), kind=TOKEN_KIND)
    assert logs.redact(token.reveal()) == f"hskey-oauthtok-{token.prefix}-[redacted]"
    assert logs.redact(f"sealed {draw_webhook_secret()}") == "sealed tskey-webhook-[redacted]"


def test_a_private_key_is_taken_out() -> None:
    assert logs.redact(f"read {PRIVATE.reveal()}") == "read privkey:[redacted]"
    assert PRIVATE.raw.hex() not in repr(PRIVATE)


def test_public_keys_stay() -> None:
    assert logs.redact("nodekey:" + "a" * 64) == "nodekey:" + "a" * 64


@pytest.mark.bar("A12")
@pytest.mark.parametrize("as_json", [True, False])
def test_no_secret_passes_in_a_message_or_a_traceback(
    root: logging.Logger, monkeypatch: pytest.MonkeyPatch, as_json: bool
) -> None:
    out = io.StringIO()
    monkeypatch.setattr(sys, "stdout" if as_json else "stderr", out)
    logs.set_up(level="info", as_json=as_json)
    try:
        raise ValueError(f"cannot parse {KEY.reveal()}")
    except ValueError:
        logging.getLogger("headscale.test").exception("failed key=%s", KEY.reveal())
    assert KEY.secret not in out.getvalue()
    assert out.getvalue().count("[redacted]") >= 2
    assert "ValueError" in out.getvalue()


def test_json_lines_have_time_level_logger_and_message(
    root: logging.Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    logs.set_up(level="warn", as_json=True)
    logging.getLogger("headscale.a").info("not shown")
    logging.getLogger("headscale.a").warning('node "%s"\nonline', "ä")
    [line] = out.getvalue().splitlines()
    document = json.loads(line)
    assert document.pop("time").endswith("+00:00")
    assert document == {"level": "warning", "logger": "headscale.a", "message": 'node "ä"\nonline'}


def lines(out: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in out.getvalue().splitlines()]


@pytest.fixture
def written(root: logging.Logger, monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What is logged as JSON from now on."""
    out = io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    logs.set_up(level="debug", as_json=True)
    return out


def test_fields_of_a_message_are_fields_of_its_line(written: io.StringIO) -> None:
    """As they were given: numbers stay numbers, whatever else there is in the message and however it is shown."""
    log = logging.getLogger("headscale.a")
    log.info("100%% of %s node=%d name=%s seconds=%.2f: %s", "all", 7, "laptop", 0.12345, "why")
    log.info("closed", extra={"remote": "192.0.2.1", "level": "not this"})
    first, second = lines(written)
    assert first["message"] == "100% of all node=7 name=laptop seconds=0.12: why"
    assert {name: first[name] for name in ("node", "name", "seconds")} == {
        "node": 7,
        "name": "laptop",
        "seconds": 0.12345,
    }
    assert (second["remote"], second["level"]) == ("192.0.2.1", "info")


def test_a_secret_is_taken_out_of_a_field(written: io.StringIO) -> None:
    logging.getLogger("headscale.a").info("failed key=%s", KEY.reveal())
    assert KEY.secret not in written.getvalue()
    assert lines(written)[0]["key"] == f"hskey-auth-{KEY.prefix}-[redacted]"


async def test_lines_of_a_request_have_its_fields_and_no_others(written: io.StringIO) -> None:
    """Two at a time, each with its own; what was noted on the way is there from then on; outside is nothing."""
    log = logging.getLogger("headscale.a")
    both = asyncio.Event()

    async def answer(number: int) -> None:
        with logs.about(request=number):
            log.info("first")
            both.set() if number == 2 else await both.wait()
            logs.note(node=number * 10)
            log.info("then")

    await asyncio.gather(answer(1), answer(2))
    logs.note(node=5)
    log.info("outside")
    ours = [line for line in lines(written) if line["logger"] == "headscale.a"]
    seen = [(line["message"], line.get("request"), line.get("node")) for line in ours]
    assert sorted(seen[:4], key=str) == [
        ("first", 1, None),
        ("first", 2, None),
        ("then", 1, 10),
        ("then", 2, 20),
    ]
    assert seen[4] == ("outside", None, None)


@pytest.mark.parametrize("level", ["trace", "debug", "info", "warn", "error"])
def test_every_level_of_the_configuration_is_one(root: logging.Logger, level: str) -> None:
    logs.set_up(level=level, as_json=False)
    assert root.level == logs.LEVELS[level]
    assert len(root.handlers) == 1
