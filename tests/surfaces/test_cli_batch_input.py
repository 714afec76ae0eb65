"""What is refused before anything is sent: with every line named, and nothing written."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from batchruns import Bench, batch, here, run
from jobbing import chat, line


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    with here(tmp_path, monkeypatch) as bench:
        yield bench


# What is refused.


@pytest.mark.parametrize(
    ("out", "why"),
    [
        ("there.jsonl", "is there already"),
        ("dangling.jsonl", "is there already"),
        ("in.jsonl", "is there already"),
        ("nowhere/out.jsonl", "there is no folder"),
        ("in.jsonl/out.jsonl", "there is no folder"),
        ("/proc/out.jsonl", "cannot be "),
    ],
)
def test_an_output_that_cannot_be_made_is_refused_before_anything(
    bench: Bench, capsys: pytest.CaptureFixture[str], out: str, why: str
) -> None:
    bench.ask(3)
    Path("there.jsonl").write_text("mine")
    Path("dangling.jsonl").symlink_to("gone")
    before = sorted(os.listdir())
    told = batch(capsys, "run", "in.jsonl", "--out", out)
    assert told.code == 2
    assert told.err.startswith("--out: ")
    assert why in told.err
    assert sorted(os.listdir()) == before
    assert Path("there.jsonl").read_text() == "mine"
    assert bench.server.calls == []


GOOD = line("good", chat(1))
BAD = {
    "no JSON": (b'{"custom_id": ', "not valid JSON"),
    "no UTF-8": (b'{"custom_id": "\xff"}', "UTF-8"),
    "a name that is taken": (GOOD, "'good' stands in line 1 already"),
    "no name": (line("", chat(2)), "custom_id"),
    "a long name": (line("x" * 513, chat(2)), "custom_id must have 1 to 512 characters"),
    "another endpoint": (line("b", chat(2), "/v1/responses"), "one endpoint in a file"),
    "no endpoint": (line("b", chat(2), "/v1/moderations"), "must be one of"),
    "a stream": (line("b", chat(2, stream=True)), "stream"),
    "an unknown model": (line("b", {**chat(2), "model": "x/y"}), "x/y"),
    "an empty line": (b"\n" + line("b", chat(2)), "empty"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_line_refuses_the_whole_file_and_is_named(
    bench: Bench, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    text, why = BAD[name]
    config = Path("headgate.toml").read_text().replace("[retry]", '[models."m"]\ntargets = ["openai/m"]\n[providers.other]\nkind = "fake"\n[retry]')  # fmt: skip  # noqa: E501
    Path("headgate.toml").write_text(config)
    bench.write([GOOD, text])
    before = sorted(os.listdir())
    told = run(capsys)
    assert told.code == 2
    first, last = told.err.splitlines()[0], told.err.splitlines()[-1]
    assert first.startswith("in.jsonl:2: ")
    assert why in first
    assert last == "in.jsonl was refused: nothing was sent, and nothing written"
    assert sorted(os.listdir()) == before
    assert bench.server.calls == []


def test_the_first_hundred_bad_lines_are_named(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    bench.write([GOOD, *(b"nonsense" for _ in range(150))])
    told = run(capsys)
    named = [text for text in told.err.splitlines() if text.startswith("in.jsonl:")]
    assert [int(text.split(":")[1]) for text in named[:100]] == [*range(2, 102)]
    assert named[100:] == ["in.jsonl: and 50 lines more"]


@pytest.mark.parametrize("content", [b"", b"\n\n"], ids=["empty", "only line feeds"])
def test_a_file_without_lines_is_refused(
    bench: Bench, capsys: pytest.CaptureFixture[str], content: bytes
) -> None:
    bench.file.write_bytes(content)
    told = run(capsys)
    assert (told.code, told.out) == (2, "")
    assert "no lines" in told.err


def test_a_file_that_is_too_large_is_refused(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    with bench.file.open("wb") as opened:
        opened.truncate(200_000_001)
    told = run(capsys)
    assert told.code == 2
    assert "the file has 200000001 bytes, at most 200000000" in told.err


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("run", "gone.jsonl", "--out", "o"), "gone.jsonl: does not exist"),
        (("run", ".", "--out", "o"), "is no file"),
        (("run", "in.jsonl", "--out", "o", "--deadline", "soon"), "--deadline: "),
        (("run", "in.jsonl", "--out", "o", "--deadline", "5s"), "must be from 1m to 30d"),
        (("run", "in.jsonl", "--out", "o", "--config", "gone.toml"), "gone.toml"),
        (("run", "in.jsonl", "--out", "o", "--lane", "fast"), "fast"),
        (("run", "in.jsonl"), "--out"),
        (("resume", "job_1"), "there is no job 'job_1' here"),
        (("cancel", "job_1"), "there is no job 'job_1' here"),
        (("status", "job_1"), "there is no job 'job_1' here"),
    ],
)
def test_wrong_usage_ends_with_2_and_writes_nothing(
    bench: Bench, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], why: str
) -> None:
    bench.ask(1)
    before = sorted(os.listdir())
    told = batch(capsys, *words)
    assert told.code == 2
    assert why in told.err
    assert sorted(os.listdir()) == before


def test_a_vendor_without_a_key_is_not_asked(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("headgate.toml").write_text('[providers.openai]\nkind = "openai"\n')
    bench.ask(2)
    told = run(capsys)
    assert told.code == 2
    assert "in.jsonl:1: provider 'openai'" in told.err
    assert "set providers.openai.api_key" in told.err


def test_batch_prices_are_not_asked_for_where_there_are_none(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    bench.ask(1)
    text = Path("headgate.toml").read_text()
    Path("headgate.toml").write_text(text + '[batch_api."openai"]\napi = "none"\n')
    told = run(capsys, "--lane", "batch")
    assert told.code == 2
    assert told.err.splitlines()[-1] == (
        "--lane batch: model 'm': the provider has no batch API that headgate may use"
    )
    assert not bench.database.exists()
