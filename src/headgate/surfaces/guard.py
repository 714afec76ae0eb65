"""Who may use the admin routes: the machine itself, or whoever holds the admin token; and who may
use what is kept for senders without a name. Pure.

Loopback trust ends where a reverse proxy begins (it makes everyone local), where a web page of
another origin speaks through the user's browser, and where a rebound name points at us.
"""

from __future__ import annotations

import hmac
import ipaddress
import re
from collections.abc import Iterable

from headgate.errors import BadRequest
from headgate.types import Secret

_LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
_PROXY_HEADERS = (b"forwarded", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto",
                  b"x-real-ip", b"via")  # fmt: skip
_HOST = re.compile(r"([a-z0-9.-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?")


def is_loopback(host: str) -> bool:
    """Whether a host name or address means this machine only."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def require_admin(
    headers: Iterable[tuple[bytes, bytes]], client_host: str, bound_host: str, token: Secret
) -> None:
    """Returns if the caller may use an admin route, else raises BadRequest with 401 or 403.

    `client_host` is the peer's address, `bound_host` the configured listening address.
    """
    fields = dict(headers)
    sent = fields.get(b"authorization", b"")
    expected = b"Bearer " + token.reveal().encode()
    if token and hmac.compare_digest(sent, expected):
        return
    local = is_loopback(bound_host) and is_loopback(client_host)
    if not local or any(name in fields for name in _PROXY_HEADERS):
        raise BadRequest(
            "admin routes need 'Authorization: Bearer <server.admin_token>'",
            status=401,
            code="admin_token_needed",
        )
    if _host_name(fields.get(b"host", b"")) not in _LOCAL_NAMES or not _same_origin(fields):
        raise BadRequest(
            "admin routes answer this machine only: open them as http://127.0.0.1 or localhost",
            status=403,
            code="wrong_origin",
        )


def refuse_web_pages(headers: Iterable[tuple[bytes, bytes]], bound_host: str) -> None:
    """Raises BadRequest (403) for what a web page of another origin may have sent through the
    browser of somebody who can reach us. Such a page can add no credential of his, and needs none
    for what is kept for whoever sends none.

    `bound_host` is the configured listening address: on loopback a name that is not this machine's
    is one that was made to point here.
    """
    fields = dict(headers)
    is_named = not is_loopback(bound_host) or _host_name(fields.get(b"host", b"")) in _LOCAL_NAMES
    if not is_named or not _same_origin(fields):
        raise BadRequest(
            "files and batches of senders without a credential are not for web pages of other "
            "origins, nor under other names than 127.0.0.1 and localhost: send an Authorization",
            status=403,
            code="wrong_origin",
        )


def _host_name(host: bytes) -> str:
    """The name in a Host header; "" for what is none, as a path, a query or a user behind or before
    it: other readers might find another name there."""
    found = _HOST.fullmatch(host.decode("latin-1").lower())
    return found[1].strip("[]") if found else ""


def _same_origin(fields: dict[bytes, bytes]) -> bool:
    if fields.get(b"sec-fetch-site", b"none") not in (b"none", b"same-origin"):
        return False
    origin = fields.get(b"origin")
    if origin is None:
        return True
    _, slashes, host = origin.partition(b"://")
    return bool(slashes) and host == fields.get(b"host", b"")
