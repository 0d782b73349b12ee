"""Pages that stand alone: one file each, with its own style and script, which fetches nothing from anywhere."""

from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined

_PAGES: Final = Environment(
    loader=PackageLoader("harness.report"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def write_page(path: Path, template: str, **shown: Any) -> None:
    """Fill the template and write the page, whole or not at all: somebody may have it open."""
    text = _PAGES.get_template(template).render(**shown)
    beside = path.with_name(f".{path.name}.new")
    beside.write_text(text)
    beside.replace(path)
