"""Tells a web address of alerts: one POST for each window that has one, by the standard library."""

from __future__ import annotations

import urllib.request
from http.client import HTTPException
from typing import Any
from urllib.parse import urlsplit

import msgspec

from headgate.core.watch import Report, as_json
from headgate.errors import ConfigError, Problem, UpstreamFailed

TIMEOUT_S = 5.0
"""How long an address may take to accept one report."""


class Webhook:
    """POSTs windows with an alert, or after which one is over, as JSON. Raises ConfigError for
    what is no http or https address, later OSError or UpstreamFailed where nobody takes it."""

    def __init__(self, url: str, timeout_s: float = TIMEOUT_S) -> None:
        try:
            parts = urlsplit(url)
            is_fit = parts.scheme in ("http", "https") and bool(parts.hostname)
        except ValueError:
            is_fit = False
        if not is_fit or not url.isascii() or not url.isprintable():
            # Does not repeat the address, which often is a credential.
            raise ConfigError([Problem("webhook", "must be an http or https address")])
        self._url = url
        self._timeout_s = timeout_s
        self._opener = urllib.request.build_opener(_NoRedirect)

    def __call__(self, report: Report) -> None:
        if not (report.alerts or report.resolved):
            return
        body = msgspec.json.encode(as_json(report))
        headers = {"content-type": "application/json", "user-agent": "headgate-monitor"}
        # Its scheme was checked when it was given.
        request = urllib.request.Request(self._url, body, headers, method="POST")  # noqa: S310
        try:
            with self._opener.open(request, timeout=self._timeout_s) as reply:
                reply.read(1024)
        except HTTPException as error:
            raise UpstreamFailed(type(error).__name__) from None


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A report goes to the address that was given, or nowhere."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None
