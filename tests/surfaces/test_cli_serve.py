"""`headgate serve`: what it says when it starts, and how it ends when it cannot."""

from __future__ import annotations

import signal
import socket
import subprocess
from pathlib import Path

import pytest
from programs import PROGRAM, environment, run, running

BODY = {"model": "m", "messages": [{"role": "user", "content": "q"}]}
SECRETS = {"OPENAI_API_KEY": "sk-sesame-1", "HEADGATE_ADMIN_TOKEN": "sesame-2"}


def test_port_0_takes_a_free_one_and_says_which(tmp_path: Path) -> None:
    with running("serve", "--port", "0", cwd=tmp_path) as gateway:
        address = gateway.served()
        assert address.port != 0
        assert address.get("/readyz").status == 200
        assert f"OpenAI SDK: base_url={address.openai_url} " in gateway.output
        assert f"Anthropic SDK: base_url={address.url}\n" in gateway.output
        assert gateway.end() == 0


def test_without_keys_the_fake_provider_answers_and_it_says_so(tmp_path: Path) -> None:
    with running("serve", "--port", "0", cwd=tmp_path) as gateway:
        address = gateway.served()
        assert "(no configuration file; Ctrl-C ends it)" in gateway.output
        assert "  provider fake: fake, built in: invented answers, offline\n" in gateway.output
        assert "  cache: 1000 entries in memory\n" in gateway.output
        assert "the built-in fake provider answers" in gateway.output
        reply = address.post("/v1/chat/completions", BODY)
        assert reply.status == 200
        assert reply.headers["headgate-target"] == "fake/m"


def test_everything_is_said_on_stderr_and_nothing_on_stdout(tmp_path: Path) -> None:
    command = [PROGRAM, "serve", "--port", "0"]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, cwd=tmp_path, env=environment(), **streams) as process:
        assert process.stderr is not None
        assert b"headgate serves" in process.stderr.readline()
        process.terminate()
        out, _ = process.communicate(timeout=60)
    assert out == b""


def test_secrets_are_never_printed(tmp_path: Path) -> None:
    with running("serve", "--port", "0", cwd=tmp_path, **SECRETS) as gateway:
        gateway.served()
        assert "  provider openai: openai, the vendor, key configured\n" in gateway.output
        assert "providers from the environment: openai (OPENAI_API_KEY)" in gateway.output
        assert gateway.end() == 0
        assert "sesame" not in gateway.output


def test_a_file_names_the_providers_and_the_disk_tier(tmp_path: Path) -> None:
    (tmp_path / "gate.toml").write_text(
        '[cache]\npersist = true\nmaxsize = 7\n[batch]\ndelay_max = "1s"\n[providers.local]\n'
        'base_url = "http://127.0.0.1:9/v1"\n'
    )  # fmt: skip
    words = ("serve", "--port", "0", "--config", "gate.toml")
    with running(*words, cwd=tmp_path, **SECRETS) as gateway:
        gateway.served()
        for line in (
            "(configuration gate.toml; Ctrl-C ends it)",
            "  provider local: openai, http://127.0.0.1:9/v1, the client's credential",
            "  cache: 7 entries in memory, and on disk in headgate-cache.db",
            "  note: batch.delay_max: nobody waits longer than 50 ms for company",
        ):
            assert f"{line}\n" in gateway.output
        assert "fake" not in gateway.output


def test_a_cache_that_is_off_is_said_to_be(tmp_path: Path) -> None:
    (tmp_path / "gate.toml").write_text("[cache]\nenabled = false\n")
    variables = {"HEADGATE_CONFIG": "gate.toml"}
    with running("serve", "--port", "0", cwd=tmp_path, **variables) as gateway:
        gateway.served()
        assert "  cache: off\n" in gateway.output


def test_options_win_over_the_file(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        (tmp_path / "gate.toml").write_text(
            f'[server]\nport = {taken.getsockname()[1]}\nhost = "192.0.2.1"\n'
        )
        words = ("serve", "--config", "gate.toml", "--port", "0", "--host", "127.0.0.1")
        with running(*words, cwd=tmp_path) as gateway:
            assert gateway.served().get("/healthz").status == 200


def test_a_port_in_use_ends_with_1_and_a_line_that_names_the_option(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run("serve", "--port", str(port), cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"cannot listen on 127.0.0.1:{port}: Address already in use; "
        f"choose another with --host, --port\n"
    )


# 192.0.2.0/24 is reserved for documentation (RFC 5737).
@pytest.mark.parametrize("host", ["192.0.2.1", "a..b"])
def test_an_address_that_is_not_ours_ends_with_1_and_a_line(tmp_path: Path, host: str) -> None:
    variables = {"HEADGATE_ADMIN_TOKEN": "t"}
    done = run("serve", "--insecure-open", "--host", host, "--port", "0", cwd=tmp_path, **variables)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"cannot listen on {host}:0: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("toml", "told"),
    [
        (None, "gate.toml: cannot be read: No such file or directory\n"),
        ("[server]\nport = 'high'\n", "gate.toml:2: server.port: "),
        ("[sever]\n", "gate.toml:1: sever: "),
        ("port =", "gate.toml:1: not TOML"),
        ('[server]\nhost = "0.0.0.0"\n', "server.admin_token: "),
    ],
    ids=["absent", "type", "typo", "no TOML", "exposed"],
)
def test_a_wrong_configuration_ends_with_2_before_a_port_is_opened(
    tmp_path: Path, toml: str | None, told: str
) -> None:
    if toml is not None:
        (tmp_path / "gate.toml").write_text(toml)
    done = run("serve", "--config", "gate.toml", "--port", "0", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert told in done.stderr
    assert "serves" not in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_signal_ends_it_with_0_also_before_it_is_ready(
    tmp_path: Path, number: signal.Signals, workers: str
) -> None:
    with running("serve", "--port", "0", "--workers", workers, cwd=tmp_path) as gateway:
        gateway.served()
        assert gateway.end(number) == 0
        assert "Traceback" not in gateway.output
        assert "Aborted" not in gateway.output


SPANS = '[metrics]\notel = true\n[providers.fake]\nkind = "fake"\n'
CONSOLE = {"OTEL_TRACES_EXPORTER": "console", "OTEL_METRICS_EXPORTER": "console"}


def test_an_exporter_that_is_not_there_ends_it_before_a_port_is_opened(tmp_path: Path) -> None:
    (tmp_path / "gate.toml").write_text(SPANS)
    done = run("serve", "--config", "gate.toml", "--port", "0", cwd=tmp_path,
               OTEL_TRACES_EXPORTER="nobodys")  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert "pip install opentelemetry-exporter-nobodys" in done.stderr
    assert "serves" not in done.stderr


@pytest.mark.parametrize("workers", ["1", "2"])
def test_spans_of_every_worker_are_out_when_it_has_ended(tmp_path: Path, workers: str) -> None:
    (tmp_path / "gate.toml").write_text(SPANS)
    capture = {"OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "span_only"}
    words = ("serve", "--config", "gate.toml", "--port", "0", "--workers", workers)
    with running(*words, cwd=tmp_path, **CONSOLE, **capture) as gateway:
        assert gateway.served().post("/v1/chat/completions", BODY).status == 200
        assert gateway.end() == 0
        assert '"name": "call m"' in gateway.output
        assert '"name": "chat m"' in gateway.output
        assert '"service.name": "headgate"' in gateway.output
        assert "  note: OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT is not" in gateway.output
