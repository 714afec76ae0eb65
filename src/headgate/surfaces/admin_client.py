"""How commands ask a running gateway: its admin routes, over HTTP, standard library only."""

from __future__ import annotations

import http.client
import json
import os
from typing import Any
from urllib.parse import urlencode, urlsplit

from headgate.errors import HeadgateError

URL = "http://127.0.0.1:4000"
URL_VARIABLE = "HEADGATE_URL"
TOKEN_VARIABLE = "HEADGATE_ADMIN_TOKEN"  # noqa: S105 - the name of it
_TIMEOUT_S = 30.0


class GatewayError(HeadgateError):
    """The gateway could not be asked, or said no; the message says what would help."""

    code = "gateway_error"


class AdminClient:
    """One gateway, by its URL (http or https, no path). Raises GatewayError."""

    def __init__(self, url: str | None = None, token: str | None = None) -> None:
        self.url = (url or os.environ.get(URL_VARIABLE) or URL).rstrip("/")
        self._token = token if token is not None else os.environ.get(TOKEN_VARIABLE, "")
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.path:
            raise GatewayError(f"--url must be like {URL}, got {self.url!r}")
        self._parts = parts

    def stats(self) -> dict[str, Any]:
        """The document of `/api/metrics/llm`."""
        return self._ask("GET", "/api/metrics/llm")

    def entries(self, **selected: str) -> list[dict[str, Any]]:
        """Stored answers, most recently used first; keywords are those of `/api/admin/cache`."""
        query = urlencode(selected)
        found: list[dict[str, Any]] = self._ask("GET", f"/api/admin/cache?{query}")["entries"]
        return found

    def clear(self, **selected: Any) -> int:
        """Removes (with `dry_run` counts) the selected answers and returns how many."""
        count: int = self._ask("POST", "/api/admin/clear-cache", selected)["entries_removed"]
        return count

    def _ask(self, method: str, path: str, document: Any = None) -> dict[str, Any]:
        kind = {"http": http.client.HTTPConnection, "https": http.client.HTTPSConnection}
        connection = kind[self._parts.scheme](
            self._parts.hostname or "", self._parts.port, timeout=_TIMEOUT_S
        )
        headers = {"content-type": "application/json"}
        if self._token:
            headers["authorization"] = f"Bearer {self._token}"
        try:
            body = None if document is None else json.dumps(document)
            connection.request(method, path, body, headers)
            reply = connection.getresponse()
            status, content = reply.status, reply.read()
        except (OSError, http.client.HTTPException) as error:
            raise GatewayError(
                f"no gateway answers at {self.url} ({error}); start one with `headgate serve`, "
                f"or name another with --url"
            ) from None
        finally:
            connection.close()
        return self._read(status, content)

    def _read(self, status: int, content: bytes) -> dict[str, Any]:
        try:
            document = json.loads(content)
        except ValueError:
            document = None
        if not isinstance(document, dict):
            raise GatewayError(f"{self.url} answers {status}, but not as a headgate gateway does")
        if status == 401:
            raise GatewayError(f"{self.url} asks for its admin token: set {TOKEN_VARIABLE}")
        if status >= 400:
            error = document.get("error")
            said = error.get("message") if isinstance(error, dict) else document
            raise GatewayError(f"{self.url} answers {status}: {said}")
        return document
