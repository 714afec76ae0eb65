"""How commands ask a running gateway: its admin routes, over HTTP, standard library only."""

from __future__ import annotations

import http.client
import json
import os
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode, urlsplit

from headgate.errors import HeadgateError

URL = "http://127.0.0.1:4000"
URL_VARIABLE = "HEADGATE_URL"
TOKEN_VARIABLE = "HEADGATE_ADMIN_TOKEN"  # noqa: S105 - the name of it
_TIMEOUT_S = 30.0
# Does not repeat the URL, which may hold a password.
_WRONG_URL = f"--url must be like {URL}: http or https, a host, no path"


class GatewayError(HeadgateError):
    """The gateway could not be asked, or said no; the message says what would help."""

    code = "gateway_error"


class AdminClient:
    """One gateway, by its URL (http or https, no path). Raises GatewayError."""

    def __init__(self, url: str | None = None, token: str | None = None) -> None:
        self.url = (url or os.environ.get(URL_VARIABLE) or URL).rstrip("/")
        self._token = token if token is not None else os.environ.get(TOKEN_VARIABLE, "").strip()
        if not (self._token.isascii() and self._token.isprintable()):
            raise GatewayError(f"{TOKEN_VARIABLE} holds characters that no HTTP header can carry")
        host, port = _host_and_port(self.url)
        kinds = {"http": http.client.HTTPConnection, "https": http.client.HTTPSConnection}
        self._connection = kinds[urlsplit(self.url).scheme](host, port, timeout=_TIMEOUT_S)

    def stats(self) -> dict[str, Any]:
        """The document of `/api/metrics/llm`."""
        return self._ask("GET", "/api/metrics/llm", wanted=("cache", "metrics"))

    def entries(self, **selected: str) -> list[dict[str, Any]]:
        """Stored answers, most recently used first; keywords are those of `/api/admin/cache`."""
        path = f"/api/admin/cache?{urlencode(selected)}"
        found: list[dict[str, Any]] = self._ask("GET", path, wanted=("entries",))["entries"]
        return found

    def calls(self, **asked: str) -> dict[str, Any]:
        """Calls of the log, the last one first; keywords are those of `/api/calls`."""
        return self._ask("GET", f"/api/calls?{urlencode(asked)}", wanted=("calls",))

    def clear(self, **selected: Any) -> int:
        """Removes (with `dry_run` counts) the selected answers and returns how many."""
        body = json.dumps(selected)
        path = "/api/admin/clear-cache"
        count: int = self._ask("POST", path, body, wanted=("entries_removed",))["entries_removed"]
        return count

    def _ask(
        self, method: str, path: str, body: str | None = None, *, wanted: Sequence[str]
    ) -> dict[str, Any]:
        headers = {"content-type": "application/json"}
        if self._token:
            headers["authorization"] = f"Bearer {self._token}"
        try:
            self._connection.request(method, path, body, headers)
            reply = self._connection.getresponse()
            status, content = reply.status, reply.read()
        # UnicodeError: a host name that cannot be looked up ("a..b").
        except (OSError, http.client.HTTPException, UnicodeError) as error:
            raise GatewayError(
                f"no gateway answers at {self.url} ({_reason(error)}); start one with "
                f"`headgate serve`, or name another with --url"
            ) from None
        finally:
            self._connection.close()
        return self._read(status, content, wanted)

    def _read(self, status: int, content: bytes, wanted: Sequence[str]) -> dict[str, Any]:
        try:
            document = json.loads(content)
        except ValueError:
            document = None
        error = document.get("error") if isinstance(document, dict) else None
        if status == 401 and error:
            wrong = "does not accept" if self._token else "asks for"
            raise GatewayError(f"{self.url} {wrong} the admin token: set {TOKEN_VARIABLE}")
        if isinstance(error, dict) and "message" in error:
            raise GatewayError(f"{self.url} answers {status}: {error['message']}")
        if not isinstance(document, dict) or any(name not in document for name in wanted):
            raise GatewayError(f"{self.url} answers {status}, but not as a headgate gateway does")
        return document


def _host_and_port(url: str) -> tuple[str, int | None]:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise GatewayError(_WRONG_URL) from None
    rest = (parts.path, parts.query, parts.fragment, parts.username)
    if parts.scheme not in ("http", "https") or not host or not url.isprintable() or any(rest):
        raise GatewayError(_WRONG_URL)
    return host, port


def _reason(error: Exception) -> str:
    said = error.strerror if isinstance(error, OSError) else None
    return said or str(error) or type(error).__name__
