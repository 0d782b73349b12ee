"""A self-hosted control server for Tailscale clients."""

from importlib import metadata

try:
    __version__ = metadata.version("headscale")
except metadata.PackageNotFoundError:  # a checkout that was never installed
    __version__ = "0.0.0.dev0"
