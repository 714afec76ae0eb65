"""One request for the inputs of several calls."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar, copy_context
from typing import Any

import pytest
from msgspec.structs import replace
from vectors import ALICE, BOB, Scene, Upstream, content_of, vector_of
from virtualtime import run

from headgate.errors import SpendExhausted, UpstreamGarbled
from headgate.joining.company import Joint, Member, Mixing, place_of, seated
from headgate.joining.seats import Party, Seat
from headgate.stream import Chunks, Whole
from headgate.types import Call, Invocation, Reply, Service

APART, MIXED = Mixing(), Mixing(across_tenants=True)
WHERE: ContextVar[str] = ContextVar("where", default="")


def single(scene: Scene, given: Any = "a", **more: Any) -> Call:
    call = replace(scene.call(given, **more), seat=Seat())
    seated(call)
    return call


def members(*calls: Call) -> list[Member]:
    loop = asyncio.get_running_loop()
    return [Member(call, loop.create_future(), copy_context()) for call in calls]


def in_scene(act: Any, upstream: Upstream | None = None) -> None:
    async def scene() -> None:
        await act(Scene(upstream or Upstream()))

    run(scene())


def test_a_seat_is_filled_from_the_body_of_its_call() -> None:
    async def act(scene: Scene) -> None:
        seat = single(scene, [7, 8, 9], dimensions=3).seat
        assert (seat.written, seat.tokens, seat.joins) == (b"[7,8,9]", 3, True)
        assert not single(scene, "").seat.joins
        assert single(scene, "a").seat.terms == single(scene, ["b"]).seat.terms
        assert single(scene, "a").seat.terms != single(scene, [1]).seat.terms
        assert single(scene, "a").seat.terms != single(scene, "a", user="u").seat.terms

    in_scene(act)


def test_company_is_of_one_credential_one_tenant_one_budget_and_one_library() -> None:
    async def act(scene: Scene) -> None:
        call = single(scene)
        assert place_of(call, APART) == place_of(single(scene, "b"), APART)
        narrowed = scene.call("b", ALICE, (b"headgate-namespace", b"n"))
        for other in (single(scene, "b", who=BOB), replace(narrowed, seat=call.seat)):
            assert place_of(call, APART) != place_of(other, APART)
        elsewhere = replace(call, request=replace(call.request, company=b"httpx"))
        assert place_of(call, MIXED) != place_of(elsewhere, MIXED)
        paying = replace(call, client=Payer("a", object()))
        assert place_of(paying, MIXED) != place_of(
            replace(call, client=Payer("b", object())), MIXED
        )
        free = replace(call, client=Payer("a", None))
        assert place_of(free, MIXED) == place_of(replace(call, client=Payer("b", None)), MIXED)
        assert place_of(free, APART) != place_of(replace(call, client=Payer("b", None)), APART)

    in_scene(act)


class Payer:
    """As much of a client as matters here."""

    def __init__(self, name: str, purse: Any) -> None:
        self.id = name
        self.purse = purse


def test_who_shares_entries_with_others_goes_with_its_own_credential_only() -> None:
    async def act(scene: Scene) -> None:
        keyed, call = frozenset({"p"}), single(scene)
        other = replace(single(scene, "b", who=BOB), inputs=call.inputs)
        assert place_of(call, Mixing(keyed=keyed)) != place_of(other, Mixing(keyed=keyed))
        mixing = Mixing(across_tenants=True, keyed=keyed)
        assert place_of(call, mixing) == place_of(other, mixing)

    in_scene(act)


def test_calls_that_a_budget_cannot_pay_together_are_asked_for_each() -> None:
    asked: list[bytes] = []

    async def below(call: Call) -> Reply:
        asked.append(call.request.body)  # type: ignore[union-attr]
        if len(asked[-1]) > len(single_body):
            raise SpendExhausted("too much")
        return Reply(200, (), Whole(b"{}"))

    single_body = b""

    async def act(scene: Scene) -> None:
        nonlocal single_body
        calls = [single(scene, text) for text in "abcd"]
        single_body = calls[0].request.body  # type: ignore[union-attr]
        groups = [members(call) for call in calls]
        joint = Joint(below, groups)
        await joint.start()
        assert [(await group[0].answer).status for group in groups] == [200] * 4
        assert not joint.cannot_be_shared, "it was not the provider who said no"
        refused = members(single(scene, "a text that is too dear"))
        await asyncio.wait([Joint(below, [refused]).start()])
        with pytest.raises(SpendExhausted):
            await refused[0].answer

    in_scene(act)
    assert len(asked) == 1 + 2 + 4 + 1


def test_what_a_callable_asks_has_no_place_here() -> None:
    async def nothing() -> None: ...

    async def act(scene: Scene) -> None:
        call = replace(single(scene), request=Invocation(nothing, 0, False))
        with pytest.raises(TypeError):
            place_of(call, APART)

    in_scene(act)


def test_the_request_runs_in_the_context_of_the_first_and_has_nobodys_own_name() -> None:
    seen: list[Any] = []

    async def below(call: Call) -> Reply:
        seen.append((WHERE.get(), call.request.name, dict(call.request.headers)))  # type: ignore[union-attr]
        raise UpstreamGarbled("enough")

    async def act(scene: Scene) -> None:
        line = (b"idempotency-key", b"mine")
        calls = [replace(scene.call(text, ALICE, line), seat=Seat()) for text in ("a", "b")]
        calls = [replace(c, request=replace(c.request, headers=(line,))) for c in calls]
        for call in calls:
            seated(call)
        WHERE.set("of the first")
        first = members(calls[0])
        WHERE.set("of the second")
        for groups in ([first], [first, members(calls[1])]):
            await asyncio.wait([Joint(below, groups).start()])
            first = members(calls[0])
            for group in groups:
                with pytest.raises(UpstreamGarbled):
                    await group[0].answer

    in_scene(act)
    name = {b"idempotency-key": b"mine"}
    assert [one[1:] for one in seen] == [(b"mine", name), (b"", {})]
    assert seen[0][0] == "of the first"


@pytest.mark.parametrize("status", [201, 204])
def test_a_success_that_is_no_answer_shows_nobody_the_vectors_of_others(status: int) -> None:
    async def odd(call: Call) -> Reply:
        return Reply(status, (), Whole(b'{"data":[1,2]}'))

    async def streamed(call: Call) -> Reply:
        return Reply(200, (), Chunks(iter(())))  # type: ignore[arg-type]

    async def act(scene: Scene) -> None:
        for below in (odd, streamed):
            groups = [members(single(scene, text)) for text in ("a", "b")]
            joint = Joint(below, groups)
            await asyncio.wait([joint.start()])
            for (member,) in groups:
                with pytest.raises(UpstreamGarbled):
                    member.answer.result()
            assert joint.cannot_be_shared

    in_scene(act)


def test_who_is_alone_gets_the_reply_as_it_came() -> None:
    reply = Reply(201, (), Whole(b"odd"))

    async def below(call: Call) -> Reply:
        return reply

    async def act(scene: Scene) -> None:
        (member,) = members(single(scene))
        await Joint(below, [[member]]).start()
        assert member.answer.result() is reply

    in_scene(act)


def test_when_everybody_has_left_nobody_is_asked() -> None:
    async def act(scene: Scene) -> None:
        groups = [members(single(scene, text)) for text in ("a", "b")]
        joint = Joint(scene.upstream, groups)
        task = joint.start()
        await asyncio.sleep(0.001)
        groups[0][0].answer.cancel()
        joint.left()
        await asyncio.sleep(0.001)
        assert not task.cancelled()
        groups[1][0].answer.cancel()
        joint.left()
        await asyncio.wait([task])
        assert task.cancelled()
        assert scene.upstream.cancelled == 1

    in_scene(act)


def test_a_request_that_was_taken_down_leaves_nobody_waiting() -> None:
    async def act(scene: Scene) -> None:
        groups = [members(single(scene, text)) for text in ("a", "b")]
        task = Joint(scene.upstream, groups).start()
        await asyncio.sleep(0.001)
        task.cancel()
        await asyncio.wait([task])
        assert all(member.answer.cancelled() for (member,) in groups)

    in_scene(act)


def test_each_part_is_a_reply_of_its_own_with_its_own_tokens() -> None:
    async def act(scene: Scene) -> None:
        groups = [members(single(scene, text)) for text in ("a", "longer text")]
        await Joint(judged(scene.upstream), groups).start()
        short, long = (member.answer.result() for (member,) in groups)
        assert content_of(short)["data"][0]["embedding"] == vector_of("a")
        assert content_of(long)["usage"]["total_tokens"] == long.usage.tokens
        assert short.usage.tokens + long.usage.tokens == scene.upstream.billed

    in_scene(act)


def judged(below: Service) -> Service:
    return below


def test_the_bytes_of_a_call_go_on_only_where_its_inputs_stand_in_their_order() -> None:
    async def act(scene: Scene) -> None:
        call = scene.call(["a", "b"])
        for order in ([0, 1], [1, 0]):
            party = Party()
            party.keys = frozenset([b"k0", b"k1"])
            seats = [Seat(party, b'"a"', 1), Seat(party, b'"b"', 1)]
            for place, seat in enumerate(seats):
                seat.place = place
            group = members(*(replace(call, seat=seats[place]) for place in order))
            await Joint(scene.upstream, [group]).start()
            for place, member in zip(order, group, strict=True):
                vector = content_of(member.answer.result())["data"][0]["embedding"]
                assert vector == vector_of("ab"[place])
        bodies = [asked.request.body for asked in scene.upstream.calls]  # type: ignore[union-attr]
        assert (bodies[0] == call.request.body, bodies[1] == call.request.body) == (True, False)

    in_scene(act)
