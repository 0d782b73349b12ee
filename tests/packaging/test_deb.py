"""The Debian package on a Debian whose process 1 is systemd: installed, started, upgraded, removed and purged."""

import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from headscale.cli.main import COMMANDS
from tests.packaging.conftest import INSTALL
from tests.packaging.machine import Machine
from tests.packaging.programs import run
from tests.reading import Reader

URL = "http://127.0.0.1:8080"
CONFIG = "/etc/headscale/config.yaml"
# systemd's measure of what a service could do, 0 to 10; a service without any of our settings has 9.6.
EXPOSURE_MAX = 1.6


@pytest.fixture(scope="module")
def machine(stand_ins: Mapping[str, str], package: Path) -> Iterator[Machine]:
    """With the package in root's home, not installed."""
    made = Machine(stand_ins["systemd"])
    try:
        made.boot()
        made.put(package)
        yield made
    finally:
        made.remove()


@pytest.fixture(scope="module")
def newer(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same package as its next revision, with another configuration in it and a mark in its code."""
    folder = tmp_path_factory.mktemp("newer")
    run("dpkg-deb", "--raw-extract", package, folder / "root")
    control = folder / "root" / "DEBIAN" / "control"
    version = re.search(r"^Version: (\S+)-1$", control.read_text(), re.M)
    assert version is not None
    control.write_text(control.read_text().replace(f"{version[1]}-1", f"{version[1]}-2"))
    with (folder / "root" / "etc" / "headscale" / "config.yaml").open("a") as shipped:
        shipped.write("# of the newer package\n")
    (metadata,) = folder.glob("root/usr/lib/headscale/headscale-*.dist-info/METADATA")
    metadata.write_text(
        metadata.read_text().replace(f"\nVersion: {version[1]}\n", f"\nVersion: {version[1]}+newer\n")
    )
    made = folder / package.name.replace("-1_", "-2_")
    run("dpkg-deb", "--root-owner-group", "-Znone", "--build", folder / "root", made)
    shutil.rmtree(folder / "root")
    return made


@pytest.fixture(scope="module")
def reader(machine: Machine, tmp_path_factory: pytest.TempPathFactory) -> Reader:
    """Who administers that machine."""
    instead = {"http://192.0.2.10:8080": URL, "./headscale_*.deb": "$(ls -v ./headscale_*.deb | tail -n 1)"}
    return Reader(tmp_path_factory.mktemp("admin"), INSTALL, instead=instead, shell=machine.shell)


def users(machine: Machine) -> list[str]:
    """Their names, as the running server lists them."""
    return re.findall(r'"name": "(\w+)"', machine.ask("headscale users list -o json-line"))


def main_pid(machine: Machine) -> int:
    return int(machine.ask("systemctl show --property MainPID --value headscale"))


def test_it_does_not_start_before_it_knows_its_url(machine: Machine) -> None:
    """It is enabled, waits, and is no failed unit, after a boot too."""
    said = machine.ask("apt-get install --yes ./headscale_*.deb 2>&1")
    assert "set server_url in /etc/headscale/config.yaml" in said
    for _ in range(2):
        assert machine.ask("systemctl is-enabled headscale") == "enabled"
        assert machine.state("headscale") == "inactive"
        assert machine.ask("systemctl --failed --no-legend") == ""
        machine.reboot()
    assert machine.ask(f"stat -c '%U:%G %a' {CONFIG} /var/lib/headscale").splitlines() == [
        "root:headscale 640",
        "headscale:headscale 750",
    ]


def test_it_is_installed_and_started_as_the_guide_says(machine: Machine, reader: Reader) -> None:
    """`systemctl start` returns to a server that answers; a key can be made at once."""
    done = reader.follow("6. The service")
    assert done.returncode == 0, done.stdout + done.stderr
    assert machine.state("headscale") == machine.state("headscale.socket") == "active"
    assert users(machine) == ["me"]
    shown = machine.ask("systemctl show --property Type,StatusText,NRestarts headscale")
    assert f"StatusText=serving {URL}" in shown
    assert "Type=notify" in shown
    assert "NRestarts=0" in shown


def test_it_runs_with_what_it_needs_alone(machine: Machine) -> None:
    """Its sandbox is in force: a user of its own, one capability, filtered calls, and a system that it cannot write."""
    pid = main_pid(machine)
    status = machine.ask(f"cat /proc/{pid}/status")
    uid = machine.ask("id --user headscale")
    assert f"Uid:\t{uid}\t{uid}" in status
    assert "CapEff:\t0000000000000400" in status  # CAP_NET_BIND_SERVICE
    assert "NoNewPrivs:\t1" in status
    assert "Seccomp:\t2" in status
    mounts = {
        line.split()[4]: line.split()[5] for line in machine.ask(f"cat /proc/{pid}/mountinfo").splitlines()
    }
    assert mounts["/"].startswith("ro")
    assert mounts["/var/lib/headscale"].startswith("rw")
    security = machine.ask("systemd-analyze security --no-pager headscale")
    exposure = re.search(r"Overall exposure level for headscale.service: ([\d.]+)", security)
    assert exposure is not None
    assert float(exposure[1]) <= EXPOSURE_MAX
    assert machine.ask("systemd-analyze verify headscale.service headscale.socket 2>&1") == ""


def test_reload_and_a_hanging_server(machine: Machine) -> None:
    """`systemctl reload` returns when the configuration was read; a dead server comes back by itself, a member of the
    group may administer it, others may not."""
    machine.ask("systemctl reload headscale")
    before = main_pid(machine)
    machine.ask(
        "timeout 10 sh -c 'until journalctl -u headscale | grep -q \"was read again\"; do sleep 0.2; done'"
    )
    machine.ask(f"kill -9 {before}; sleep 0.2; until systemctl is-active -q headscale; do sleep 0.2; done")
    assert main_pid(machine) != before
    machine.ask("useradd --groups headscale member; useradd other")
    assert "me" in machine.ask("runuser -u member -- headscale users list")
    refused = machine.ask("runuser -u other -- headscale users list", check=False)
    assert "cannot be read" in refused or "you may not use" in refused


def test_it_brings_a_manual_page_and_completion(machine: Machine, package: Path) -> None:
    """The page names every command that is listed."""
    page = run(
        "sh",
        "-c",
        f"dpkg-deb --fsys-tarfile {package} | tar -xO ./usr/share/man/man1/headscale.1.gz | gunzip",
    )
    page = page.replace("\\-", "-")
    for name in [*COMMANDS, "configtest", "help", "serve", "version"]:
        assert re.search(rf"\b{re.escape(name)}\b", page), name
    completed = machine.ask(
        ". /usr/share/bash-completion/completions/headscale; COMP_WORDS=(headscale pre); COMP_CWORD=1;"
        " _headscale_completion headscale; echo ${COMPREPLY[*]}"
    )
    assert completed == "preauthkeys"


def test_an_upgrade_keeps_data_and_configuration(machine: Machine, reader: Reader, newer: Path) -> None:
    """And the server that runs afterwards is the newer one. The socket stays open all the while."""
    listening = machine.ask(
        "systemctl show --property ActiveEnterTimestampMonotonic --value headscale.socket"
    )
    keys = machine.ask("cat /var/lib/headscale/*.key | sha256sum")
    machine.put(newer)
    done = reader.follow("7. A newer package")
    assert done.returncode == 0, done.stdout + done.stderr
    assert machine.ask("dpkg-query -W -f '${Version} ${Status}' headscale").endswith(
        "-2 install ok installed"
    )
    assert machine.ask("headscale version").endswith("+newer")
    assert "+newer" in machine.ask(f"wget -qO- {URL}/version")
    assert users(machine) == ["me"]
    assert machine.ask("cat /var/lib/headscale/*.key | sha256sum") == keys
    assert f"server_url: {URL}" in machine.ask(f"cat {CONFIG}")
    assert "of the newer package" in machine.ask(f"cat {CONFIG}.dpkg-dist")
    now = machine.ask("systemctl show --property ActiveEnterTimestampMonotonic --value headscale.socket")
    assert now == listening


def test_it_starts_again_with_the_machine(machine: Machine) -> None:
    machine.reboot()
    assert machine.state("headscale") == "active"
    assert users(machine) == ["me"]


def test_removed_it_stops_and_purged_it_leaves_the_records(machine: Machine, reader: Reader) -> None:
    """Nothing of it runs or is enabled; the configuration goes with the purge; records and keys stay."""
    done = reader.follow("8. Away with it")
    assert done.returncode == 0, done.stdout + done.stderr
    assert machine.ask("find /proc -maxdepth 1 -user headscale") == ""
    assert machine.ask(f"wget -qO- {URL}/health || echo silent") == "silent"
    machine.ask(f"test -e {CONFIG} && test ! -e /usr/bin/headscale && test ! -e /usr/lib/headscale")
    said = machine.ask("apt-get purge --yes headscale 2>&1")
    assert "records and keys stay in /var/lib/headscale" in said
    machine.ask("test ! -e /etc/headscale/config.yaml && test -s /var/lib/headscale/noise_private.key")
    assert machine.ask("systemctl --failed --no-legend") == ""
    assert machine.ask("find /etc/systemd /lib/systemd -name 'headscale*'") == ""
    machine.ask(
        f"apt-get install --yes ./headscale_*-1_*.deb; sed -i 's|^#server_url: .*|server_url: {URL}|' {CONFIG};"
        " systemctl start headscale"
    )
    assert users(machine) == ["me"]
