"""Message batches as Anthropic has them, field for field as the types of its SDK ask for them."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec

from headgate.faultserver.batches import CANCELLING, ENDED, Batch, anthropic_results
from headgate.faultserver.courses import DONE, EXPIRED, FAILED, Asked
from headgate.faultserver.desk_words import Answered, Ask, Drawers, json_answer, paged
from headgate.providers import fake_anthropic

_PREFIX = "msgbatch_"
_DAY_S = 86_400
_CUSTOM_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


def _refused(status: int, message: str) -> Answered:
    return json_answer(fake_anthropic.error(status, message), status)


def _create(ask: Ask, drawers: Drawers) -> Answered:
    requests = ask.fields.get("requests")
    if not isinstance(requests, list) or not requests:
        return _refused(400, "requests: at least one is required")
    items: list[Asked] = []
    known: set[str] = set()
    for place, request in enumerate(requests):
        fields = request if isinstance(request, dict) else {}
        custom_id, params = fields.get("custom_id"), fields.get("params")
        if not isinstance(custom_id, str) or not _CUSTOM_ID.fullmatch(custom_id):
            return _refused(400, f"requests.{place}.custom_id: should match [a-zA-Z0-9_-]{{1,64}}")
        if custom_id in known:
            return _refused(400, f"requests.{place}.custom_id: is not unique")
        if not isinstance(params, dict):
            return _refused(400, f"requests.{place}.params: Field required")
        known.add(custom_id)
        body = msgspec.json.encode(params)
        items.append(Asked(custom_id, "messages", body, str(params.get("model", ""))))
    course = drawers.course_of(items[0].model)
    batch = Batch(drawers.name(_PREFIX), ask.mark, items, course, ask.now_s)
    drawers.batches[batch.id] = batch
    return json_answer(_batch(batch, ask))


def _retrieve(ask: Ask, drawers: Drawers) -> Answered:
    batch = drawers.batch(ask, _PREFIX)
    if batch is None:
        return _no_batch(ask)
    told = json_answer(_batch(batch, ask))
    batch.look()
    return told


def _list(ask: Ask, drawers: Drawers) -> Answered:
    rows = drawers.own_batches(ask, _PREFIX)
    page, has_more = paged(rows, ask.query, "after_id", lambda batch: batch.id)
    told = [_batch(batch, ask) for batch in page]
    for batch in page:
        batch.look()
    ends = {"first_id": told[0]["id"], "last_id": told[-1]["id"]} if told else {}
    none = {"first_id": None, "last_id": None}
    return json_answer({"data": told, "has_more": has_more, **none, **ends})


def _cancel(ask: Ask, drawers: Drawers) -> Answered:
    batch = drawers.batch(ask, _PREFIX)
    if batch is None:
        return _no_batch(ask)
    if not batch.cancel():
        return _refused(400, "a batch that has ended cannot be cancelled")
    return json_answer(_batch(batch, ask))


def _results(ask: Ask, drawers: Drawers) -> Answered:
    batch = drawers.batch(ask, _PREFIX)
    if batch is None:
        return _no_batch(ask)
    if batch.state != ENDED:
        return _refused(404, "the batch has not ended, so it has no results")
    return Answered(200, anthropic_results(batch, drawers.seed), "application/x-jsonl")


def _no_batch(ask: Ask) -> Answered:
    return _refused(404, f"Message Batch {ask.subject} not found")


def _batch(batch: Batch, ask: Ask) -> dict[str, Any]:
    has_ended = batch.state == ENDED
    counts, total = batch.counts(), len(batch.items)
    done, failed, expired = counts[DONE], counts[FAILED], counts[EXPIRED]
    rest = total - done - failed - expired
    url = f"{ask.origin}/v1/messages/batches/{batch.id}/results"
    is_cancelled = batch.cancelled_at is not None
    return {
        "id": batch.id,
        "type": "message_batch",
        "processing_status": "ended" if has_ended else _open_status(batch),
        "request_counts": {
            "processing": 0 if has_ended else total,
            "succeeded": done,
            "errored": failed,
            "canceled": rest if has_ended else 0,
            "expired": expired,
        },
        "created_at": _stamp(batch.created_s),
        "expires_at": _stamp(batch.created_s + _DAY_S),
        "ended_at": _stamp(batch.created_s) if has_ended else None,
        "archived_at": None,
        "cancel_initiated_at": _stamp(batch.created_s) if is_cancelled else None,
        "results_url": url if has_ended and batch.course.has_files else None,
    }


def _open_status(batch: Batch) -> str:
    return "canceling" if batch.state == CANCELLING else "in_progress"


def _stamp(moment_s: int) -> str:
    return datetime.fromtimestamp(moment_s, UTC).isoformat().replace("+00:00", "Z")


ANSWERS: dict[str, Callable[[Ask, Drawers], Answered]] = {
    "message_batches.create": _create,
    "message_batches.list": _list,
    "message_batches.retrieve": _retrieve,
    "message_batches.results": _results,
    "message_batches.cancel": _cancel,
}
