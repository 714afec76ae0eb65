"""The provider that an SDK of this process brings along: its client library, and the address, the
credential and the headers that it gives a request itself. Nothing is configured.
"""

from __future__ import annotations

from msgspec.structs import replace

from headgate.providers.http import hand_on
from headgate.types import Call, Provenance, Reply, WireRequest


async def relay(call: Call) -> Reply:
    """Has the request sent by whoever made it. Headers of the reply are those that the gateway
    hands on, as what is stored here may be served there; and where a redirect leads."""
    request = call.request
    if not isinstance(request, WireRequest) or request.send is None:
        raise TypeError("only a request that knows how it is sent can be relayed")
    reply = await request.send(request)
    kept = hand_on(reply.headers)
    if 300 <= reply.status < 400:
        kept += tuple(header for header in reply.headers if header[0] == b"location")
    return replace(reply, headers=kept, provenance=Provenance(attempts=1, target=call.target.name))
