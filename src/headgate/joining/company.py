"""A request upstream for several calls: put together, taken apart again, and divided where one of
them spoils it for the others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, Sequence
from contextvars import Context
from typing import Any, NamedTuple

from msgspec.structs import replace

from headgate.account_joint import JointAccount
from headgate.core.apportion import usage_parts
from headgate.core.canonical import canonical
from headgate.core.embedding_inputs import asked_in, has_company, joint_body, tokens_of
from headgate.core.embedding_reply import Mismatch, put_together, taken_apart
from headgate.core.idempotency import HEADER
from headgate.errors import UpstreamGarbled
from headgate.joining.parts import Part
from headgate.joining.seats import Seat
from headgate.stream import Whole
from headgate.types import NO_CONTROLS, Call, Reply, Route, Service, WireRequest

_FAILS = 300
_LENGTH = b"content-length"
_DIVIDES = frozenset({400, 413, 422})
"""What a request may be refused with for the sake of one input, or of their number."""


def seated(call: Call) -> Seat:
    """The seat of a call, complete: of one with a single input its body says the rest."""
    seat: Seat = call.seat
    if seat.party is None and not seat.terms:
        asked = asked_in(_request(call).body)
        (item,) = asked.inputs
        seat.terms = canonical(asked.rest) + (b"t" if asked.is_text else b"n")
        seat.written, seat.tokens = canonical(item), tokens_of(item)
        seat.joins = has_company(item)
    return seat


class Mixing(NamedTuple):
    """Whose calls may go together."""

    across_tenants: bool = False
    keyed: frozenset[str] = frozenset()
    """Providers with a credential of their own: what clients send does not go there."""


NOT_MIXED = Mixing()


def place_of(call: Call, mixing: Mixing) -> tuple[Hashable, Hashable]:
    """Where a call leads, and which calls may go there with it: of the same tenant unless tenants
    are mixed, with one credential, and alike in everything but their inputs. Who pays out of a
    budget pays for nobody else."""
    request, client, mixes = _request(call), call.client, mixing.across_tenants
    whose = b"" if client is None or (mixes and client.purse is None) else client.id
    routes = call.routes or (Route(call.target),)
    is_keyed = all(route.target.provider in mixing.keyed for route in routes)
    sent = b"" if is_keyed and request.send is None else request.credential
    company = call.inputs.company if mixes else call.inputs.prefix
    return (routes, sent), (company, sent, call.model, whose, request.company, call.seat.terms)


def _request(call: Call) -> WireRequest:
    if not isinstance(call.request, WireRequest):
        raise TypeError("what a callable asks goes nowhere with others")
    return call.request


def _rewritten(request: WireRequest, body: bytes, *, has_name: bool) -> WireRequest:
    """The request with another body; where it is for several calls it has the name of none."""
    headers = []
    for name, value in request.headers:
        low = name.lower()
        if low == _LENGTH:
            headers.append((name, b"%d" % len(body)))
        elif has_name or low != HEADER:
            headers.append((name, value))
    name = request.name if has_name else b""
    return replace(request, body=body, headers=tuple(headers), name=name)


class Member:
    """One input on its way, and who waits for it."""

    __slots__ = ("answer", "call", "context", "joint")

    def __init__(self, call: Call, answer: asyncio.Future[Reply], context: Context) -> None:
        self.call = call
        self.answer = answer
        self.context = context
        self.joint: Joint | None = None

    def tell(self, reply: Reply) -> None:
        if not self.answer.done():
            self.answer.set_result(reply)


class Joint:
    """One request for the inputs of several calls, `groups` of members, one for each call. Belongs
    to one event loop."""

    def __init__(self, below: Service, groups: Sequence[Sequence[Member]]) -> None:
        self._below = below
        self._groups = groups
        self._members = [member for group in groups for member in group]
        self._task: asyncio.Task[None] | None = None
        self.is_answered = False
        """It was answered as a whole."""
        self.cannot_be_shared = False
        """Who was asked does answer each of several calls, and not all of them in one request."""

    def start(self) -> asyncio.Task[None]:
        """The task that asks; when it has ended everybody has been told."""
        for member in self._members:
            member.joint = self
            member.call.seat.is_in_company = len(self._groups) > 1
        loop, context = asyncio.get_running_loop(), self._members[0].context
        self._task = loop.create_task(self._ask(), context=context)
        self._task.add_done_callback(self._ended)
        return self._task

    def left(self) -> None:
        """Somebody waits no longer; when nobody does, nobody is asked."""
        if self._task is not None and all(member.answer.done() for member in self._members):
            self._task.cancel()

    async def _ask(self) -> None:
        call, account = self._call()
        reply: Reply | None = None
        try:
            reply = await self._below(call)
        finally:
            if account is not None:
                account.over(reply)
        if reply.status in _DIVIDES and len(self._groups) > 1:
            await reply.body.aclose()
            await self._divide()
        elif reply.status >= _FAILS:
            self._tell_all(reply)
        else:
            self._hand_out(reply)

    def _call(self) -> tuple[Call, JointAccount | None]:
        """What goes upstream: the call itself where it is alone, with the bytes it came with."""
        first, members = self._members[0].call, self._members
        party, request = first.seat.party, _request(first)
        is_whole = len(self._groups) == 1 and len(members) == (1 if party is None else party.size)
        if not (is_whole and len(members) == first.inputs.count):
            body = joint_body(request.body, [member.call.seat.written for member in members])
            request = _rewritten(request, body, has_name=len(self._groups) == 1)
        call = replace(first, request=request, seat=None)
        if is_whole:
            return call, None
        account = self._account()
        return replace(call, account=account, controls=NO_CONTROLS, patience=None), account

    def _account(self) -> JointAccount | None:
        owners = [member.call.account for member in self._members]
        return None if None in owners else JointAccount(owners, self._weights())

    def _weights(self) -> list[int]:
        return [member.call.seat.tokens for member in self._members]

    async def _divide(self) -> None:
        """Asks for each half by itself, at the same time: whoever spoilt it is alone in the end."""
        middle = len(self._groups) // 2
        halves = [Joint(self._below, part)
                  for part in (self._groups[:middle], self._groups[middle:])]  # fmt: skip
        await asyncio.wait([half.start() for half in halves])
        self.cannot_be_shared = all(
            half.cannot_be_shared if len(half._groups) > 1 else half.is_answered for half in halves
        )

    def _tell_all(self, reply: Reply) -> None:
        body = reply.body
        if len(self._members) == 1:
            self._members[0].tell(reply)
            return
        if not isinstance(body, Whole):
            raise UpstreamGarbled(f"status {reply.status} came as a stream to several inputs")
        for member in self._members:
            member.tell(replace(reply, body=Whole(body.content)))

    def _hand_out(self, reply: Reply) -> None:
        self.is_answered = True
        body, members = reply.body, self._members
        if len(members) == 1:
            members[0].tell(reply)
            return
        try:
            if not isinstance(body, Whole) or reply.status != 200:
                raise Mismatch(f"status {reply.status} or a stream came")
            weights = self._weights()
            pieces = taken_apart(body.content, weights)
        except Mismatch as error:
            self.cannot_be_shared = len(self._groups) > 1
            raise UpstreamGarbled(f"the provider's answer to several inputs: {error}") from None
        usages = usage_parts(reply.usage, weights)
        for member, piece, usage in zip(members, pieces, usages, strict=True):
            verdict: Any = body.verdict and replace(body.verdict, usage=usage)
            part = Part(put_together([piece]), piece, verdict)
            member.tell(replace(reply, body=part, usage=usage))

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Whoever has not been told hears what happened to the request."""
        error = None if task.cancelled() else task.exception()
        for member in self._members:
            if member.answer.done():
                continue
            if error is None:
                member.answer.cancel()
            else:
                member.answer.set_exception(error)
