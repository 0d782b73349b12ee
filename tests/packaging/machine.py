"""A Debian machine whose process 1 is systemd: a container that may do no more than services' sandboxes need."""

import secrets
import subprocess
import time
from pathlib import Path

from tests.packaging.programs import run

# Services get file systems and filters of their own: that takes mounts, and filters that the engine's would not let in.
RIGHTS = ("--cap-add", "SYS_ADMIN", "--security-opt", "seccomp=unconfined")
PLACES = ("--tmpfs", "/run", "--tmpfs", "/run/lock", "--tmpfs", "/tmp")
# systemd makes groups of its own: with version 1 the engine leaves it a hierarchy, with version 2 it needs the host's.
CGROUPS = (
    ("--cgroupns=host", "-v", "/sys/fs/cgroup:/sys/fs/cgroup:rw")
    if Path("/sys/fs/cgroup/cgroup.controllers").exists()
    else ("-v", "/sys/fs/cgroup:/sys/fs/cgroup:ro")
)
BOOT_S = 60
FOLDER = "/srv"


class Machine:
    """One that has booted. `shell` is what runs commands on it as root, in FOLDER."""

    def __init__(self, image: str) -> None:
        self.name = f"hs-{secrets.token_hex(4)}"
        alone = ("--detach", "--name", self.name, "--network", "none")
        run("docker", "run", *alone, *RIGHTS, *PLACES, *CGROUPS, image)
        self.shell = ("docker", "exec", "--interactive", "--workdir", FOLDER, self.name, "bash")

    def boot(self) -> None:
        """Until systemd says that everything has started."""
        deadline = time.monotonic() + BOOT_S
        while (state := self.ask("systemctl is-system-running --wait", check=False)) != "running":
            assert time.monotonic() < deadline, (
                f"{state}\n{self.ask('systemctl --failed; journalctl -n 40', check=False)}"
            )
            time.sleep(0.3)

    def ask(self, commands: str, *, check: bool = True) -> str:
        """What they print."""
        done = subprocess.run([*self.shell, "-ec", commands], capture_output=True, text=True, check=False)
        assert done.returncode == 0 or not check, f"{commands}: {done.returncode}\n{done.stdout}{done.stderr}"
        return (done.stdout + ("" if check else done.stderr)).strip()

    def put(self, file: Path) -> None:
        """Into FOLDER."""
        run("docker", "cp", file, f"{self.name}:{FOLDER}/{file.name}")

    def state(self, unit: str) -> str:
        """As systemd calls it: active, inactive, failed."""
        return self.ask(f"systemctl show --property ActiveState --value {unit}")

    def reboot(self) -> None:
        """With everything on its disk."""
        run("docker", "restart", self.name)
        self.boot()

    def remove(self) -> None:
        run("docker", "rm", "--force", "--volumes", self.name, check=False)
