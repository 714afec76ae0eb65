"""Which of the batch routes answers, whom, and when: paths, methods, draining, dialects."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from batchgates import FORM, batch_config, form, jobs_file, key, lines

from headgate.config import ProviderConfig
from headgate.surfaces.batch_asked import Streamed
from headgate.surfaces.batch_routes import is_batch_path, split
from headgate.surfaces.gateway import DATA_PLANE

FAKE = {"fake": ProviderConfig(kind="fake")}
LISTS = ("/v1/files", "/v1/batches", "/v1/messages/batches")


@pytest.fixture
def jobs(open_door: Callable[..., Any], tmp_path: Path) -> Any:
    return open_door(batch_config(tmp_path, providers=FAKE))


@pytest.mark.parametrize(
    ("path", "pattern", "name"),
    [
        ("/v1/files", "/v1/files", ""),
        ("/v1/files/f", "/v1/files/*", "f"),
        ("/v1/files/f/content", "/v1/files/*/content", "f"),
        ("/v1/files/", "/v1/files/*", ""),
        ("/v1/batches/b/cancel", "/v1/batches/*/cancel", "b"),
        ("/v1/messages/batches/b/results", "/v1/messages/batches/*/results", "b"),
        ("/v1/messages/batches/b/x/y", "/v1/messages/batches/*/x/y", "b"),
    ],
)
def test_a_path_is_a_pattern_and_an_id(path: str, pattern: str, name: str) -> None:
    assert is_batch_path(path)
    assert split(path) == (pattern, name)


@pytest.mark.parametrize(
    "path", [*DATA_PLANE, "/", "/v1", "/v1/file", "/v1/filesx", "/v1/messages/batche", "/healthz"]
)
def test_other_paths_are_none_of_theirs(path: str) -> None:
    assert not is_batch_path(path)


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("PUT", "/v1/files", "GET, POST"),
        ("POST", "/v1/files/f", "DELETE, GET"),
        ("POST", "/v1/files/f/content", "GET"),
        ("DELETE", "/v1/batches", "GET, POST"),
        ("GET", "/v1/batches/b/cancel", "POST"),
        ("HEAD", "/v1/messages/batches/b/results", "GET"),
    ],
)
def test_a_wrong_method_is_405_and_names_the_right_ones(
    jobs: Any, method: str, path: str, allow: str
) -> None:
    got = jobs.ask(method, path, b"", {})
    assert (got.status, got.headers["allow"]) == (405, allow)


@pytest.mark.parametrize(
    "path", ["/v1/files/f/contents", "/v1/batches/b/results", "/v1/messages/batches/b/",
             "/v1/files/a/b/c"]
)  # fmt: skip
def test_a_path_below_them_that_is_none_is_404(jobs: Any, path: str) -> None:
    got = jobs.get(path)
    assert (got.status, got.json["error"]["code"]) == (404, "no_such_route")


@pytest.mark.parametrize("name", ["..", "a b", "%2e", "a'--", "x" * 101, "ü", "a\x00"])
@pytest.mark.parametrize("base", LISTS)
def test_what_can_be_no_id_is_an_unknown_one(jobs: Any, base: str, name: str) -> None:
    got = jobs.get(f"{base}/{name}")
    assert got.status == 404
    assert got.json["error"]["code"] in ("file_not_found", "batch_not_found")


def test_errors_are_in_the_dialect_of_the_route(jobs: Any) -> None:
    assert jobs.get("/v1/messages/batches/b").json["type"] == "error"
    assert set(jobs.get("/v1/batches/b").json["error"]) == {"message", "type", "param", "code"}


def test_nothing_is_answered_while_the_gateway_shuts_down(jobs: Any) -> None:
    assert jobs.ask("POST", "/v1/files", form(lines(1)), {**FORM, **key("a")}).status == 200
    jobs.gateway.readiness.is_draining = True
    for path in LISTS:
        got = jobs.get(path, key("a"))
        assert (got.status, got.json["error"]["code"]) == (503, "closed")


def test_jobs_are_shed_at_the_door_as_calls_are(jobs: Any) -> None:
    jobs.gateway.door._memory_bytes = 10**12
    assert jobs.get("/v1/batches").status == 200
    inside = jobs.gateway.door.inside
    jobs.gateway.door.inside = 10**9
    assert jobs.get("/v1/batches").status == 503
    jobs.gateway.door.inside = inside
    assert jobs.get("/v1/batches").status == 200


def test_a_web_page_of_another_origin_reads_and_makes_nothing(jobs: Any, tmp_path: Path) -> None:
    """What it can send through a browser: a form, a text, a look; never a credential."""
    page = {"host": "127.0.0.1:4000", "origin": "https://evil.example"}
    rebound = {"host": "evil.example:4000"}
    for headers in (page, {**page, "sec-fetch-site": "cross-site"}, rebound):
        told = [jobs.ask("POST", "/v1/files", form(lines(1)), {**FORM, **headers})]
        told += [jobs.ask("POST", path, b"{}", headers) for path in LISTS[1:]]
        told += [jobs.get(path, headers) for path in LISTS]
        assert {got.status for got in told} == {403}
        assert {got.json["error"]["code"] for got in told} == {"wrong_origin"}
    assert not jobs_file(tmp_path).exists()
    assert jobs.get("/v1/files", {**page, **key("a")}).status == 200


def test_a_failing_store_is_503_and_names_no_path(jobs: Any, tmp_path: Path) -> None:
    assert jobs.ask("POST", "/v1/files", form(lines(1)), {**FORM, **key("a")}).status == 200
    folder = jobs_file(tmp_path).with_name("jobs.db-files")
    folder.rename(tmp_path / "elsewhere")
    folder.write_bytes(b"no folder")
    got = jobs.ask("POST", "/v1/files", form(lines(1)), {**FORM, **key("a")})
    assert (got.status, got.json["error"]["code"]) == (503, "jobs_unavailable")
    assert str(tmp_path) not in got.body.decode()
    assert jobs.get("/v1/files", key("a")).status == 200


def test_a_list_makes_no_file(jobs: Any, tmp_path: Path) -> None:
    for path in LISTS:
        assert jobs.get(path).json["data"] == []
    assert not jobs_file(tmp_path).exists()


def test_a_long_answer_is_read_no_further_when_its_reader_has_left(jobs: Any) -> None:
    read: list[int] = []

    class Pieces:
        is_closed = False

        def __iter__(self) -> Any:
            return self

        def __next__(self) -> bytes:
            read.append(1)
            return b"x" * 100_000

        def close(self) -> None:
            self.is_closed = True

    pieces = Pieces()

    async def use() -> int:
        sent: list[int] = []
        has_left = asyncio.Event()

        async def receive() -> dict[str, Any]:
            await has_left.wait()
            return {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            sent.append(len(message.get("body", b"")))
            if len(sent) > 3:
                has_left.set()
                await asyncio.sleep(0)

        routes = jobs.gateway._serving.batches
        await asyncio.wait_for(routes.send(Streamed(pieces), receive, send), 10)
        return len(sent)

    assert jobs.run(use()) < 20
    assert pieces.is_closed
    assert len(read) < 20
