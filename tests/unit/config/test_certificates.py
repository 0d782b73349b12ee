"""The section `dns.certificates`: what it becomes, and every mistake with its line."""

import base64
import textwrap
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from headscale.config.file import BadConfig, load_config
from headscale.config.settings import Certificates, DNSCommand, DNSUpdates

SECRET = "c2VjcmV0LXNlY3JldC1zZWNyZXQ="
UPDATES = f"""\
dns:
  base_domain: ts.example.com
  certificates:
    backend: rfc2136
    rfc2136:
      server: 192.0.2.53
      tsig_name: headscale
      tsig_secret: {SECRET}
"""
Load = Callable[..., Certificates | None]
Complaints = Callable[..., list[str]]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    def loaded(text: str, **environment: str) -> Certificates | None:
        (tmp_path / "config.yaml").write_text(textwrap.dedent(text))
        return load_config(tmp_path / "config.yaml", environment).certificates

    return loaded


@pytest.fixture
def complaints(load: Load, tmp_path: Path) -> Complaints:
    def found(text: str, **environment: str) -> list[str]:
        with pytest.raises(BadConfig) as caught:
            load(text, **environment)
        return str(caught.value).replace(f"{tmp_path}/config.yaml", "file").splitlines()

    return found


def test_there_are_none_unless_a_backend_is_named(load: Load) -> None:
    assert load("dns: {base_domain: ts.example.com}") is None


def test_a_nameserver_that_takes_updates(load: Load) -> None:
    """The zone is the tailnet's own unless told otherwise."""
    assert load(UPDATES) == Certificates(
        backend=DNSUpdates(
            host="192.0.2.53",
            port=53,
            zone="ts.example.com",
            tsig_name="headscale",
            tsig_algorithm="hmac-sha256",
            tsig_secret=base64.b64decode(SECRET),
        ),
        timeout=timedelta(seconds=30),
        record_lifetime=timedelta(hours=1),
    )


@pytest.mark.parametrize(
    ("written", "host", "port"),
    [
        ("ns.example.com:5353", "ns.example.com", 5353),
        ("'[2001:db8::53]:5353'", "2001:db8::53", 5353),
        ("'2001:db8::53'", "2001:db8::53", 53),
    ],
)
def test_a_server_is_a_host_with_or_without_a_port(load: Load, written: str, host: str, port: int) -> None:
    made = load(UPDATES.replace("192.0.2.53", written))
    assert made is not None
    assert isinstance(made.backend, DNSUpdates)
    assert (made.backend.host, made.backend.port) == (host, port)


def test_a_secret_is_in_no_text(load: Load) -> None:
    assert "secret-" not in repr(load(UPDATES))
    assert SECRET not in repr(load(UPDATES))


def test_a_secret_may_lie_in_a_file_or_a_variable(load: Load, tmp_path: Path) -> None:
    (tmp_path / "tsig").write_text(f"{SECRET}\n")
    by_file = UPDATES.replace(f"tsig_secret: {SECRET}", "tsig_secret_path: tsig")
    without = UPDATES.replace(f"tsig_secret: {SECRET}", "zone: example.com")
    assert load(by_file) == load(UPDATES)
    assert load(without, HEADSCALE_DNS_CERTIFICATES_RFC2136_TSIG_SECRET=SECRET) is not None


def test_a_command_of_the_operators(load: Load, tmp_path: Path) -> None:
    hook = tmp_path / "hook"
    hook.touch(mode=0o700)
    made = load(f"""\
        dns:
          base_domain: ts.example.com
          certificates:
            backend: exec
            timeout: 5s
            exec: {{command: [{hook}, --zone, "a b"]}}
        """)
    assert made is not None
    assert made.backend == DNSCommand(command=(str(hook), "--zone", "a b"))
    assert made.timeout == timedelta(seconds=5)


@pytest.mark.parametrize(
    ("old", "new", "line", "complaint"),
    [
        ("backend: rfc2136", "backend: route53", 4, "backend: 'route53' is none of rfc2136, exec"),
        ("base_domain: ts.example.com", "magic_dns: true", 4, "needs dns.base_domain"),
        ("server: 192.0.2.53", "server: 'a b:c'", 6, "server: 'a b:c' is not a host"),
        ("server: 192.0.2.53", "server: x@y", 6, "server: 'x@y' is not a host"),
        ("server: 192.0.2.53", "server: 192.0.2.53:70000", 6, "is not a host"),
        ("server: 192.0.2.53", "zone: example.com", 0, "server: is needed"),
        ("tsig_name: headscale", "zone: other.example", 6 + 1, "zone: dns.base_domain ts.example.com must"),
        ("tsig_name: headscale", "zone: ts.example.com", 0, "tsig_name: is needed"),
        ("tsig_name: headscale", "tsig_name: a..b", 7, "tsig_name: 'a..b' is not a name"),
        ("tsig_name: headscale", "tsig_algorithm: hmac-md5", 7, "tsig_algorithm: 'hmac-md5' is none of"),
        (SECRET, "'not base64!'", 8, "tsig_secret: expected the secret in base64"),
        (SECRET, "[hidden]", 8, "tsig_secret: expected a text in quotes"),
        (f"tsig_secret: {SECRET}", "zone: example.com", 0, "tsig_secret: give the secret here or by"),
        (f"tsig_secret: {SECRET}", "tsig_secret_path: gone", 8, "gone cannot be read: No such file"),
        (
            "backend: rfc2136",
            "backend: rfc2136\n    timeout: 2m",
            5,
            "timeout: must be more than nothing and at most 60s",
        ),
        ("backend: rfc2136", "backend: rfc2136\n    record_lifetime: 0s", 5, "record_lifetime: must be more"),
        (
            "backend: rfc2136",
            "backend: rfc2136\n    exec: {command: /x}",
            5,
            "exec.command: has no effect without",
        ),
        (
            "    backend: rfc2136\n",
            "",
            5,
            "rfc2136.server: has no effect without dns.certificates.backend: rfc2136",
        ),
    ],
)
def test_a_mistake_is_named_with_its_line(
    complaints: Complaints, old: str, new: str, line: int, complaint: str
) -> None:
    """Line 0: of what is not there."""
    found = complaints(UPDATES.replace(old, new))
    where = f"file:{line}: " if line else "configuration: "
    assert any(text.startswith(where) and complaint in text for text in found), found
    assert "hidden" not in "".join(found)
    assert "not base64" not in "".join(found)


@pytest.mark.parametrize(
    ("command", "complaint"),
    [
        ("[]", "is needed"),
        ("[hook]", "'hook' must be a whole path"),
        ("[/nowhere/hook]", "there is no program /nowhere/hook"),
        ("[/etc]", "there is no program /etc that may be run"),
    ],
)
def test_a_command_must_be_there(complaints: Complaints, command: str, complaint: str) -> None:
    text = (
        f"dns: {{base_domain: ts.example.com, certificates: {{backend: exec, exec: {{command: {command}}}}}}}"
    )
    assert any(complaint in found for found in complaints(text))


def test_a_secret_that_may_not_be_read_keeps_no_command_from_working(
    load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Members of the socket's group use the same configuration; the server itself says so at its start."""

    def denied(path: Path) -> str:
        raise PermissionError

    monkeypatch.setattr("headscale.config.certificates._read", denied)
    made = load(UPDATES.replace(f"tsig_secret: {SECRET}", "tsig_secret_path: tsig"))
    assert made is not None
    assert isinstance(made.backend, DNSUpdates)
    assert made.backend.tsig_secret == b""
