"""Another release in place: the machine, its addresses and the client's state stay, only the programs are others."""

import asyncio
import shutil
from dataclasses import replace

from harness.clients.tailscaled import TailscaledClient
from harness.provision import Provisioner
from harness.versions import Release


async def change_release(client: TailscaledClient, release: Release, provisioner: Provisioner) -> None:
    """Stop the client, put the release's programs on its machine, and start them with the state that is there.

    The programs lie in the machine's data folder, so that it is the same on every backend.
    """
    programs = await asyncio.to_thread(provisioner.programs, release)
    folder = client.machine.data / f"programs-{release.version}"
    folder.mkdir(exist_ok=True)
    for path in programs.values():
        await asyncio.to_thread(shutil.copy2, path, folder / path.name)
    await client.stop()
    places = {name: client.machine.path(folder.name, path.name) for name, path in programs.items()}
    client.machine.layout = replace(client.machine.layout, programs=places)
    client.release = release
    await client.start()
