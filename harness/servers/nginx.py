"""A real nginx on the host, with whatever configuration a test writes into its `http` block."""

import asyncio
import shutil
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path

from harness.errors import Missing
from harness.runs import environ, prefix
from harness.servers.programs import end, until_listening

CONFIGURATION = """\
daemon off;
{user}
pid {folder}/nginx.pid;
error_log stderr warn;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    map $http_upgrade $connection_upgrade {{ default upgrade; '' close; }}
{http}
}}
"""


async def start_nginx(stack: AsyncExitStack, port: int, http: str, *, host: str = "127.0.0.1") -> None:
    """Run it until the stack unwinds; `http` has it listen there. Raises Missing where it is not installed."""
    program = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
    if program is None:
        raise Missing("there is no nginx: install it (Debian: apt-get install nginx-light)")
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=prefix("nginx"))))
    is_root = (await asyncio.to_thread(Path("/proc/self").stat)).st_uid == 0
    text = CONFIGURATION.format(folder=folder, http=http, user="user root;" if is_root else "")
    (folder / "nginx.conf").write_text(text)
    log = folder / "nginx.log"
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *(program, "-p", folder, "-c", folder / "nginx.conf", "-e", "stderr"),
            stdout=output,
            stderr=output,
            env=environ(),
        )
    stack.push_async_callback(end, process)
    await until_listening(process, "nginx", host, port, log)
