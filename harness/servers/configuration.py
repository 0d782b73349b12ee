"""What a scenario wants of a server's configuration, in the keys that the Go headscale and ours share."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FILE = "config.yaml"


@dataclass(frozen=True, slots=True)
class Configuration:
    """Keys with dots (`dns.search_domains`) and their values, and files by name with their text.

    The files lie beside the configuration, so that a name alone is their path in it.
    """

    keys: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)

    def write(self, folder: Path, basis: Mapping[str, Any] | None = None) -> None:
        """Write the file into the folder, as JSON, which is YAML: `basis` with these keys over it, and the files."""
        text = json.dumps(nested({**(basis or {}), **self.keys}), indent=1)
        (folder / FILE).write_text(text + "\n")
        for name, content in self.files.items():
            (folder / name).write_text(content)


def nested(keys: Mapping[str, Any]) -> dict[str, Any]:
    """Keys with dots as mappings in mappings."""
    document: dict[str, Any] = {}
    for key, value in keys.items():
        *sections, last = key.split(".")
        place = document
        for section in sections:
            place = place.setdefault(section, {})
        place[last] = value
    return document
