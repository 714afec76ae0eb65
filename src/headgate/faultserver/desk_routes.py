"""Which requests are for the desk, and what they are called. Pure."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from headgate.testing_server import Recorded

_ROUTES: tuple[tuple[str, str, str], ...] = (
    ("POST", r"/v1/files", "files.create"),
    ("GET", r"/v1/files", "files.list"),
    ("GET", r"/v1/files/(?P<id>[^/]+)", "files.retrieve"),
    ("DELETE", r"/v1/files/(?P<id>[^/]+)", "files.delete"),
    ("GET", r"/v1/files/(?P<id>[^/]+)/content", "files.content"),
    ("POST", r"/v1/batches", "batches.create"),
    ("GET", r"/v1/batches", "batches.list"),
    ("GET", r"/v1/batches/(?P<id>[^/]+)", "batches.retrieve"),
    ("POST", r"/v1/batches/(?P<id>[^/]+)/cancel", "batches.cancel"),
    ("POST", r"/v1/messages/batches", "message_batches.create"),
    ("GET", r"/v1/messages/batches", "message_batches.list"),
    ("GET", r"/v1/messages/batches/(?P<id>[^/]+)", "message_batches.retrieve"),
    ("GET", r"/v1/messages/batches/(?P<id>[^/]+)/results", "message_batches.results"),
    ("POST", r"/v1/messages/batches/(?P<id>[^/]+)/cancel", "message_batches.cancel"),
)
OPERATIONS = tuple(operation for _, _, operation in _ROUTES)
"""What a script may name as its `operation`, besides those of calls."""


def desk_operation(request: Recorded) -> str:
    """The operation of a request to the desk; "" for any other."""
    found = route(request)
    return "" if found is None else found[0]


def route(request: Recorded) -> tuple[str, str] | None:
    """Operation, and the id in the path ("" where there is none); None for other requests."""
    path = urlsplit(request.path).path
    for method, pattern, operation in _ROUTES:
        match = re.fullmatch(pattern, path) if method == request.method else None
        if match is not None:
            return operation, match.groupdict().get("id", "")
    return None
