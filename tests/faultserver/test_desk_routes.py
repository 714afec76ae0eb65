"""Which requests are for the desk."""

from __future__ import annotations

import pytest

from headgate.faultserver.desk_routes import OPERATIONS, desk_operation, route
from headgate.testing import Recorded


def asked(method: str, path: str) -> Recorded:
    return Recorded(method, path, {}, None, b"")


@pytest.mark.parametrize(
    ("method", "path", "found"),
    [
        ("POST", "/v1/files", ("files.create", "")),
        ("GET", "/v1/files/file-1/content", ("files.content", "file-1")),
        ("GET", "/v1/batches?limit=2", ("batches.list", "")),
        ("POST", "/v1/messages/batches/b/cancel", ("message_batches.cancel", "b")),
        ("POST", "/v1/messages", None),
        ("PUT", "/v1/files", None),
        ("GET", "/v1/files/a/b/content", None),
    ],
)
def test_method_and_path_name_the_operation(
    method: str, path: str, found: tuple[str, str] | None
) -> None:
    request = asked(method, path)
    assert route(request) == found
    assert desk_operation(request) == (found[0] if found else "")


def test_operations_are_named_once() -> None:
    assert len(set(OPERATIONS)) == len(OPERATIONS) == 14
