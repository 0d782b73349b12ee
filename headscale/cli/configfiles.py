"""The files that a configuration names, read as the server reads them when it starts."""

from headscale.config.settings import Config


def check_sources(config: Config) -> None:
    """Raises Malformed or Unavailable for a DERP map or a file of DNS records with which no server would start."""
    # Half of the server: other commands do not wait for it.
    from headscale.derp.regions import MAX_SOURCE_BYTES
    from headscale.sources.extrarecords import MAX_BYTES
    from headscale.sources.records import read_records
    from headscale.sources.relays import read_map
    from headscale.sources.watchedfile import WatchedFile

    for path in config.derp_sources.paths:
        read_map(WatchedFile(path, max_bytes=MAX_SOURCE_BYTES))
    if config.extra_records_path is not None:
        read_records(WatchedFile(config.extra_records_path, max_bytes=MAX_BYTES))
