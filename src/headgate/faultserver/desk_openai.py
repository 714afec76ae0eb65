"""Files and batches as OpenAI has them, field for field as the types of its SDK ask for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from headgate.core.multipart import Form, boundary_of
from headgate.errors import BadRequest
from headgate.faultserver.batches import (
    CANCELLING,
    ENDED,
    IN_PROGRESS,
    INVALID,
    Batch,
    openai_files,
)
from headgate.faultserver.courses import DONE, EXPIRED, FAILED, Asked
from headgate.faultserver.desk_words import Answered, Ask, Drawers, KeptFile, json_answer, paged
from headgate.providers import fake_openai
from headgate.providers.fake import operation_of

_PREFIX = "batch_"
_DAY_S = 86_400
_ENDPOINTS = frozenset({"/v1/responses", "/v1/chat/completions", "/v1/embeddings",
                        "/v1/completions"})  # fmt: skip


def _refused(status: int, message: str) -> Answered:
    return json_answer(fake_openai.error(status, message), status)


# Files.


def _create_file(ask: Ask, drawers: Drawers) -> Answered:
    kind, raw = ask.request.headers.get("content-type", ""), ask.request.raw
    try:
        form = Form(boundary_of(kind.encode("latin-1")), len(raw))
        content = form.feed(raw)
        form.end()
    except BadRequest as error:
        return _refused(400, error.message)
    if "purpose" not in form.fields:
        return _refused(400, "'purpose' is a required property")
    name, purpose = form.file_name or "", form.fields["purpose"]
    file = _kept(drawers, ask.mark.tenant, purpose, name, content, ask.now_s)
    return json_answer(_file(file))


def _kept(
    drawers: Drawers, tenant: str, purpose: str, name: str, content: bytes, now_s: int
) -> KeptFile:
    file = KeptFile(drawers.name("file-"), tenant, purpose, name, content, now_s)
    drawers.files[file.id] = file
    return file


def _list_files(ask: Ask, drawers: Drawers) -> Answered:
    own = [file for file in drawers.files.values() if file.tenant == ask.mark.tenant]
    wanted = ask.query.get("purpose")
    rows = [file for file in reversed(own) if wanted in (None, file.purpose)]
    page, has_more = paged(rows, ask.query, "after", lambda file: file.id)
    return json_answer(_page([_file(file) for file in page], has_more=has_more))


def _retrieve_file(ask: Ask, drawers: Drawers) -> Answered:
    file = drawers.file(ask)
    return _no_file(ask) if file is None else json_answer(_file(file))


def _content(ask: Ask, drawers: Drawers) -> Answered:
    file = drawers.file(ask)
    if file is None:
        return _no_file(ask)
    return Answered(200, file.content, "application/octet-stream")


def _delete_file(ask: Ask, drawers: Drawers) -> Answered:
    file = drawers.file(ask)
    if file is None:
        return _no_file(ask)
    del drawers.files[file.id]
    return json_answer({"id": file.id, "object": "file", "deleted": True})


def _no_file(ask: Ask) -> Answered:
    return _refused(404, f"No such File object: {ask.subject}")


def _file(file: KeptFile) -> dict[str, Any]:
    return {
        "id": file.id,
        "object": "file",
        "bytes": len(file.content),
        "created_at": file.created_s,
        "filename": file.name,
        "purpose": file.purpose,
        "status": "processed",
    }


# Batches.


def _create(ask: Ask, drawers: Drawers) -> Answered:
    fields = ask.fields
    endpoint, file = str(fields.get("endpoint", "")), drawers.files.get(_text(fields))
    if endpoint not in _ENDPOINTS:
        return _refused(400, f"Invalid value: '{endpoint}'. Supported values are: …")
    if fields.get("completion_window") != "24h":
        return _refused(400, "Invalid value for completion_window: only '24h' is supported")
    if file is None or file.tenant != ask.mark.tenant or file.purpose != "batch":
        return _refused(400, "input_file_id: no such file with purpose 'batch'")
    items, errors = _items(file.content, endpoint)
    course = drawers.course_of(items[0].model if items else "")
    batch = Batch(drawers.name(_PREFIX), ask.mark, items, course, ask.now_s)
    batch.errors = errors
    batch.details = {"endpoint": endpoint, "file": file.id, "metadata": fields.get("metadata")}
    drawers.batches[batch.id] = batch
    return json_answer(_batch(batch, drawers))


def _text(fields: Mapping[str, Any]) -> str:
    return str(fields.get("input_file_id", ""))


def _items(content: bytes, endpoint: str) -> tuple[list[Asked], list[dict[str, Any]]]:
    """The items of an input file, and what is wrong with it."""
    items: list[Asked] = []
    errors: list[dict[str, Any]] = []
    known: set[str] = set()
    operation = operation_of(endpoint.removeprefix("/v1"))
    for number, line in enumerate(content.splitlines(), 1):
        fields = _decoded(line)
        custom_id, body = fields.get("custom_id"), fields.get("body")
        code = ""
        if not isinstance(custom_id, str) or not isinstance(body, dict):
            code = "invalid_json_line"
        elif custom_id in known:
            code = "duplicate_custom_id"
        elif fields.get("url") != endpoint:
            code = "mismatched_url"
        if code:
            errors.append({"code": code, "line": number, "message": code, "param": None})
            continue
        known.add(str(custom_id))
        model = str(body.get("model", "")) if isinstance(body, dict) else ""
        items.append(Asked(str(custom_id), operation, msgspec.json.encode(body), model))
    if not items and not errors:
        errors.append({"code": "empty_file", "line": None, "message": "empty", "param": None})
    return items, errors


def _decoded(line: bytes) -> dict[str, Any]:
    try:
        fields = msgspec.json.decode(line)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return {}
    return fields if isinstance(fields, dict) else {}


def _retrieve(ask: Ask, drawers: Drawers) -> Answered:
    batch = drawers.batch(ask, _PREFIX)
    if batch is None:
        return _no_batch(ask)
    told = json_answer(_batch(batch, drawers))
    batch.look()
    return told


def _list(ask: Ask, drawers: Drawers) -> Answered:
    rows = drawers.own_batches(ask, _PREFIX)
    page, has_more = paged(rows, ask.query, "after", lambda batch: batch.id)
    told = json_answer(_page([_batch(batch, drawers) for batch in page], has_more=has_more))
    for batch in page:
        batch.look()
    return told


def _cancel(ask: Ask, drawers: Drawers) -> Answered:
    batch = drawers.batch(ask, _PREFIX)
    if batch is None:
        return _no_batch(ask)
    if not batch.cancel():
        return _refused(409, "Cannot cancel a batch that has ended.")
    return json_answer(_batch(batch, drawers))


def _no_batch(ask: Ask) -> Answered:
    return _refused(404, f"No batch found with id '{ask.subject}'.")


def _batch(batch: Batch, drawers: Drawers) -> dict[str, Any]:
    status = _status(batch)
    stamps = _STAMPS[status]
    counts, has_ended = batch.counts(), batch.state == ENDED
    known = {"completed": counts[DONE], "failed": counts[FAILED] + counts[EXPIRED]}
    if not has_ended:
        known = {"completed": 0, "failed": 0}
    is_silent = not has_ended and not batch.course.has_counts
    total = 0 if is_silent or status == "validating" else len(batch.items)
    return {
        "id": batch.id,
        "object": "batch",
        "endpoint": batch.details["endpoint"],
        "errors": _errors(batch),
        "input_file_id": batch.details["file"],
        "completion_window": "24h",
        "status": status,
        **_files_of(batch, drawers),
        "created_at": batch.created_s,
        "expires_at": batch.created_s + _DAY_S,
        **{name: batch.created_s if name in stamps else None for name in _STAMP_NAMES},
        "request_counts": {"total": total, **known},
        "metadata": batch.details["metadata"],
        "model": batch.items[0].model if batch.items else None,
    }


def _status(batch: Batch) -> str:
    state = batch.state
    if state == IN_PROGRESS:
        return "in_progress" if batch.looks else "validating"
    if state == INVALID:
        return "failed"
    if state == CANCELLING:
        return "cancelling"
    if batch.cancelled_at is not None:
        return "cancelled"
    return "completed" if batch.course.expired_from is None else "expired"


_STAMP_NAMES = ("in_progress_at", "finalizing_at", "completed_at", "failed_at", "expired_at",
                "cancelling_at", "cancelled_at")  # fmt: skip
_STAMPS = {
    "validating": (),
    "failed": ("failed_at",),
    "in_progress": ("in_progress_at",),
    "completed": ("in_progress_at", "finalizing_at", "completed_at"),
    "expired": ("in_progress_at", "finalizing_at", "expired_at"),
    "cancelling": ("in_progress_at", "cancelling_at"),
    "cancelled": ("in_progress_at", "cancelling_at", "cancelled_at"),
}


def _errors(batch: Batch) -> dict[str, Any] | None:
    errors = batch.errors
    if batch.course.invalid:
        code = batch.course.invalid
        errors = [{"code": code, "line": None, "message": code, "param": None}]
    return {"object": "list", "data": errors} if errors else None


def _files_of(batch: Batch, drawers: Drawers) -> dict[str, Any]:
    """Ids of its two result files, made when they are first asked for."""
    if batch.state != ENDED or not batch.course.has_files:
        return {"output_file_id": None, "error_file_id": None}
    if "files" not in batch.details:
        contents = openai_files(batch, drawers.seed)
        names = ("output_file_id", "error_file_id")
        batch.details["files"] = {
            name: _kept(
                drawers, batch.tenant, "batch_output", f"{batch.id}.jsonl", content, batch.created_s
            ).id
            if content
            else None
            for name, content in zip(names, contents, strict=True)
        }
    files: dict[str, Any] = batch.details["files"]
    return files


def _page(rows: list[dict[str, Any]], *, has_more: bool) -> dict[str, Any]:
    ends = {"first_id": rows[0]["id"], "last_id": rows[-1]["id"]} if rows else {}
    return {"object": "list", "data": rows, "has_more": has_more, **ends}


ANSWERS: dict[str, Callable[[Ask, Drawers], Answered]] = {
    "files.create": _create_file,
    "files.list": _list_files,
    "files.retrieve": _retrieve_file,
    "files.content": _content,
    "files.delete": _delete_file,
    "batches.create": _create,
    "batches.list": _list,
    "batches.retrieve": _retrieve,
    "batches.cancel": _cancel,
}
