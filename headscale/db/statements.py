"""What is asked of the database, for the log: the statements without their values, which may be secrets."""

import logging
import time
from typing import Any, Final

from sqlalchemy import Connection, Engine, event

log = logging.getLogger(__name__)

_BEGAN: Final = "statement began"


def log_statements(engine: Engine) -> None:
    """Each statement is a line at the level debug, with how long it took."""
    event.listen(engine, "before_cursor_execute", _before)
    event.listen(engine, "after_cursor_execute", _after)


def _before(connection: Connection, *_: Any) -> None:
    connection.info[_BEGAN] = time.perf_counter()


def _after(connection: Connection, _cursor: Any, statement: str, *_: Any) -> None:
    seconds = time.perf_counter() - connection.info.pop(_BEGAN)
    log.debug("statement executed seconds=%.4f sql=%s", seconds, " ".join(statement.split()))
