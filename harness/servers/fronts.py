"""Real reverse proxies on the host, each with the configuration that a guide gives to operators.

The guide's words are taken as they are: only addresses and files are replaced.
"""

import asyncio
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from harness.errors import HarnessError, Missing
from harness.runs import environ, prefix
from harness.servers.nginx import start_nginx
from harness.servers.programs import end, until_listening

PLACES = "/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin"
NAME = "hs.example.com"
UPSTREAM = "127.0.0.1:8080"

APACHE = """\
ServerRoot /usr/lib/apache2
{modules}
ServerName {host}
PidFile {folder}/apache.pid
ErrorLog /dev/stderr
Mutex file:{folder} default
User www-data
Group www-data
Listen {host}:{port} https
{text}
"""
APACHE_MODULES = ("mpm_event", "authz_core", "socache_shmcb", "ssl", "proxy", "proxy_http")
CADDY = "{{\n\tadmin off\n\tauto_https off\n}}\n{text}\n"


@dataclass(frozen=True, slots=True)
class Front:
    """A kind of proxy: the fence of its part of the guide, its package, and how it is run."""

    fence: str
    program: str
    package: str
    adapted: Callable[[str, "Place"], str]
    arguments: Callable[[Path, Path], Sequence[str]]


@dataclass(frozen=True, slots=True)
class Place:
    """Where the proxy listens, to whom it leads, and the files of its certificate: both apart, and both in one."""

    host: str
    port: int
    upstream: str
    chain: Path
    key: Path
    both: Path
    folder: Path


def _nginx(text: str, place: Place) -> str:
    text = re.sub(r"map \$http_upgrade.*?\}\n", "", text, count=1, flags=re.S)  # the harness's own has it
    return text.replace("listen 443 ssl;", f"listen {place.host}:{place.port} ssl;")


def _caddy(text: str, place: Place) -> str:
    site = f"https://{place.host}:{place.port} {{\n\ttls {place.chain} {place.key}"
    return CADDY.format(text=text.replace(f"{NAME} {{", site))


def _haproxy(text: str, place: Place) -> str:
    return text.replace("bind :443", f"bind {place.host}:{place.port}").replace(
        f"/etc/haproxy/{NAME}.pem", str(place.both)
    )


def _apache(text: str, place: Place) -> str:
    modules = "\n".join(f"LoadModule {name}_module modules/mod_{name}.so" for name in APACHE_MODULES)
    text = text.replace("*:443", f"{place.host}:{place.port}")
    return APACHE.format(modules=modules, host=place.host, port=place.port, folder=place.folder, text=text)


FRONTS: Mapping[str, Front] = {
    "nginx": Front("nginx", "nginx", "nginx-light", _nginx, lambda file, folder: ()),
    "caddy": Front(
        "caddyfile",
        "caddy",
        "caddy",
        _caddy,
        lambda file, folder: ("run", "--config", str(file), "--adapter", "caddyfile"),
    ),
    "haproxy": Front(
        "haproxy", "haproxy", "haproxy", _haproxy, lambda file, folder: ("-db", "-f", str(file))
    ),
    "apache": Front(
        "apache", "apache2", "apache2", _apache, lambda file, folder: ("-D", "FOREGROUND", "-f", str(file))
    ),
}


def part_of(guide: str, front: Front) -> str:
    """The guide's configuration for this proxy. Raises HarnessError when it has none."""
    found = re.search(rf"^```{front.fence}\n(.*?)^```", guide, re.S | re.M)
    if found is None:
        raise HarnessError(f"the guide has no part for {front.program}")
    return found[1]


async def start_front(
    stack: AsyncExitStack,
    name: str,
    guide: str,
    *,
    host: str,
    port: int,
    upstream: str,
    chain: bytes,
    key: bytes,
) -> None:
    """Run it in front of the upstream (host:port), with this certificate (PEM), until the stack unwinds.

    Raises Missing where it is not installed.
    """
    front = FRONTS[name]
    program = shutil.which(front.program, path=PLACES)
    if program is None:
        raise Missing(f"there is no {front.program}: install it (Debian: apt-get install {front.package})")
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=prefix(name))))
    os.chmod(folder, 0o755)  # noqa: S103  (some of them give root up)
    place = Place(host, port, upstream, folder / "chain.pem", folder / "key.pem", folder / "both.pem", folder)
    for path, content in ((place.chain, chain), (place.key, key), (place.both, chain + key)):
        path.write_bytes(content)
    text = front.adapted(part_of(guide, front), place).replace(UPSTREAM, upstream)
    text = text.replace(f"/etc/ssl/{NAME}.crt", str(place.chain)).replace(
        f"/etc/ssl/{NAME}.key", str(place.key)
    )
    if name == "nginx":
        await start_nginx(stack, port, text, host=host)
        return
    file, log = folder / "configuration", folder / "log"
    file.write_text(text)
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *(program, *front.arguments(file, folder)),
            stdout=output,
            stderr=output,
            env=environ({"XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder), "HOME": str(folder)}),
        )
    stack.push_async_callback(end, process)
    await until_listening(process, front.program, host, port, log)
