"""From a file to a job: what is judged, with what its maker asked for, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from batchgates import CHAT, FORM, batch_config, form, jobs_file, jsonl, key, line, lines

from headgate.clock import SystemClock
from headgate.config import ModelConfig, ProviderConfig
from headgate.jobs.model import Job
from headgate.stores.jobs import JobsFile
from headgate.types import Secret

ME = key("me")
OWN = ProviderConfig(kind="openai", base_url="http://127.0.0.1:1/v1", api_key=Secret("k"))
FORWARDS = ProviderConfig(kind="openai", base_url="http://127.0.0.1:1/v1")
PROVIDERS = {"own": OWN, "forwards": FORWARDS}
MODELS = {
    "kept": ModelConfig(targets=("own/m",)),
    "sent": ModelConfig(targets=("forwards/m",)),
    "both": ModelConfig(targets=("forwards/m", "own/m")),
    "falls": ModelConfig(targets=("forwards/m",), fallbacks=("kept",)),
}


@pytest.fixture
def submit(open_door: Callable[..., Any], tmp_path: Path) -> Callable[..., Any]:
    """Uploads a file and makes a batch of it, which nobody works on."""
    door = open_door(batch_config(tmp_path, providers=PROVIDERS, models=MODELS))
    door.gateway.jobs.drain()

    def make(content: bytes, headers: dict[str, str] = ME, **more: str) -> Any:
        file = door.ask("POST", "/v1/files", form(content), {**FORM, **ME}).json["id"]
        wanted = {"input_file_id": file, "endpoint": CHAT, "completion_window": "24h", **more}
        return door.post("/v1/batches", wanted, headers)

    return make


def stored(folder: Path, name: str) -> Job:
    with JobsFile(jobs_file(folder), SystemClock()) as store:
        job = store.job(name, None)
    assert job is not None
    return job


@pytest.mark.parametrize("model", ["kept", "both", "own/m"])
def test_a_model_is_asked_for_where_the_gateway_has_a_key(
    submit: Callable[..., Any], model: str
) -> None:
    got = submit(lines(2, model=model))
    assert (got.status, got.json["status"]) == (200, "validating")


@pytest.mark.parametrize("model", ["sent", "falls", "forwards/m"])
def test_a_model_that_only_clients_have_a_key_for_is_refused(
    submit: Callable[..., Any], model: str
) -> None:
    got = submit(jsonl(line("a", model="kept"), line("b", model=model)))
    assert (got.status, got.json["error"]["code"]) == (400, "provider_key_missing")
    assert "providers.forwards.api_key" in got.json["error"]["message"]


def test_an_unknown_model_names_its_lines(submit: Callable[..., Any]) -> None:
    got = submit(jsonl(line("a", model="kept"), line("b", model="x"), line("c", model="x")))
    assert got.json["status"] == "failed"
    told = [(one["line"], one["code"]) for one in got.json["errors"]["data"]]
    assert told == [(2, "model_not_found"), (3, "model_not_found")]


def test_at_most_a_hundred_lines_are_named(submit: Callable[..., Any]) -> None:
    got = submit(lines(300, model="x"))
    assert len(got.json["errors"]["data"]) == 100


def test_a_job_keeps_what_its_maker_was_and_said_but_no_credential(
    submit: Callable[..., Any], tmp_path: Path
) -> None:
    headers = {"authorization": "Bearer me", "openai-organization": "org-1", "x-other": "no"}
    got = submit(lines(1, model="kept"), headers, completion_window="2h")
    job = stored(tmp_path, got.json["id"])
    assert job.options.headers == (("openai-organization", "org-1"),)
    assert (job.options.window, job.options.client) == ("2h", "")
    assert job.deadline_s - job.created_s == 7200
    content = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"Bearer" not in content


def test_no_endpoint_but_those_of_calls_has_jobs(submit: Callable[..., Any]) -> None:
    got = submit(lines(1, model="kept"), endpoint="/v1/images/edits")
    assert (got.status, got.json["error"]["code"]) == (400, "invalid_endpoint")


def test_a_file_that_is_deleted_while_it_is_read_makes_no_job(
    open_door: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    door = open_door(batch_config(tmp_path, providers=PROVIDERS, models=MODELS))
    content = form(lines(2, model="kept"))
    file = door.ask("POST", "/v1/files", content, {**FORM, **ME}).json["id"]
    create = JobsFile.create

    def delete_and_create(store: JobsFile, job: Job, items: Any) -> None:
        assert store.remove_file(file, job.tenant)
        create(store, job, items)

    monkeypatch.setattr(JobsFile, "create", delete_and_create)
    wanted = {"input_file_id": file, "endpoint": CHAT, "completion_window": "24h"}
    got = door.post("/v1/batches", wanted, ME)
    assert (got.status, got.json["error"]["code"]) == (404, "file_not_found")
    (left,) = door.get("/v1/batches", ME).json["data"]
    assert left["cancelling_at"]
