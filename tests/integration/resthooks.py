"""What schemathesis has to be told: a policy is HuJSON, of which it knows no writer. Loaded by it, see restfuzz."""

import json
from typing import Any

import schemathesis


@schemathesis.serializer("application/hujson")
def hujson(context: Any, value: Any) -> bytes:
    """Bytes and text as they are, anything else as JSON, which is HuJSON."""
    if isinstance(value, bytes):
        return value
    return (value if isinstance(value, str) else json.dumps(value)).encode("utf-8", "surrogatepass")
