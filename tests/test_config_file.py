"""Reading a configuration: from a file, from the environment, and where each value came from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from headgate.config import Config
from headgate.config_file import Loaded, load, load_or_default, warnings
from headgate.errors import ConfigError, Problem
from headgate.providers.settings import ProviderConfig

Write = Callable[[str], Path]
KEYS = {"OPENAI_API_KEY": "sk-openai", "ANTHROPIC_API_KEY": "sk-anthropic"}


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a headgate.toml and says where it is."""

    def write_text(text: str) -> Path:
        file = tmp_path / "headgate.toml"
        file.write_bytes(text.encode())
        return file

    return write_text


def problems(file: Path | None, environment: dict[str, str] | None = None) -> list[Problem]:
    with pytest.raises(ConfigError) as caught:
        load_or_default(file, environment or {})
    assert caught.value.file == str(file or "")
    return caught.value.problems


# A file.


def test_an_empty_file_is_the_default_configuration(write: Write) -> None:
    assert load(write(""), {}) == Config()
    assert load(write("\ufeff# only a comment\n"), {}) == Config()


def test_a_file_is_read_with_its_variables(write: Write) -> None:
    file = write('[cache]\nttl = "${TTL:-5m}"\n[providers.x]\napi_key = "${KEY}"\n')
    config = load(file, {"KEY": "sk-1"})
    assert config.cache.ttl == 300.0
    assert config.providers["x"].api_key.reveal() == "sk-1"


def test_without_an_environment_variables_come_from_the_process(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADGATE_TEST_TTL", "7s")
    file = write('[cache]\nttl = "${HEADGATE_TEST_TTL}"\n')
    assert Config.load(file).cache.ttl == 7.0
    assert Config.load(str(file), environment={"HEADGATE_TEST_TTL": "8s"}).cache.ttl == 8.0


def test_every_problem_comes_with_its_key_and_line_in_the_order_of_the_file(write: Write) -> None:
    file = write(
        '[server]\nport = 70000\n\n[cache]\nttl = "${NO}"\nmaxsiz = 1\n'
        '[models.m]\ntargets = [\n"x/y"]\n[providers.p]\nbase_url = "x"\n'
    )
    assert [(problem.line, problem.key) for problem in problems(file)] == [
        (2, "server.port"), (5, "cache.ttl"), (6, "cache.maxsiz"), (8, "models.m.targets"),
        (11, "providers.p.base_url"),
    ]  # fmt: skip


def test_an_error_reads_as_file_line_key_and_what_would_be_right(write: Write) -> None:
    file = write("[cache]\n\nmaxsiz = 1\n")
    with pytest.raises(ConfigError) as caught:
        load(file, {})
    assert str(caught.value) == f"{file}:3: cache.maxsiz: unknown key; did you mean 'maxsize'?"


def test_a_missing_variable_is_reported_once(write: Write) -> None:
    (problem,) = problems(write('[providers.p]\nbase_url = "${NO}/v1"\n'))
    assert "environment variable NO is not set" in problem.message


@pytest.mark.parametrize(
    ("text", "line"), [("a = 1\nb\n", 2), ("a = 1\n\n\xff".encode("latin-1"), 3)]
)
def test_what_is_no_toml_is_one_problem(tmp_path: Path, text: str | bytes, line: int) -> None:
    file = tmp_path / "x.toml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    (problem,) = problems(file)
    assert problem.line == line
    assert problem.message.startswith("not TOML")


@pytest.mark.parametrize("name", ["absent.toml", "."])
def test_a_file_that_cannot_be_read_is_a_problem(tmp_path: Path, name: str) -> None:
    (problem,) = problems(tmp_path / name)
    assert problem.message.startswith("cannot be read: ")


def test_no_error_repeats_a_secret(write: Write) -> None:
    file = write(
        '[server]\nadmin_token = "s3cret s3cret"\nport = "${S}"\nadmin_tokn = "s3cret"\n'
        '[cache]\nstore = "redis://:s3cret@x"\nscope = "${S}"\nttl = "${S}"\n'
        '[providers.p]\napi_key = ["s3cret"]\nbase_url = "https://u:s3cret@x"\n'
        '[models.m]\ntargets = ["${S}"]\n'
    )
    found = problems(file, {"S": "s3cret", "OPENAI_API_KEY": "s3cret"})
    assert len(found) == 9
    assert "s3cret" not in repr(found)


def test_semantic_caching_by_a_variable_is_refused_too(write: Write) -> None:
    (problem,) = problems(write('[cache.semantic]\nenabled = "${ON:-true}"\n'))
    assert problem.key == "cache.semantic.enabled"


# A file or none.


def test_without_file_and_variables_the_fake_provider_answers() -> None:
    loaded = load_or_default(None, {})
    assert loaded.config == Config(providers={"fake": ProviderConfig(kind="fake")})
    assert loaded.file is None
    assert "fake provider" in loaded.notes[0]
    assert set(loaded.origins.values()) == {"default"}


def test_providers_come_from_the_environment() -> None:
    loaded = load_or_default(
        None, {**KEYS, "OPENAI_BASE_URL": "http://127.0.0.1:8000/v1", "OPENAI_ORG_ID": "x"}
    )
    openai, anthropic = (loaded.config.providers[name] for name in ("openai", "anthropic"))
    assert (openai.kind, openai.base_url) == ("openai", "http://127.0.0.1:8000/v1")
    assert openai.api_key.reveal() == "sk-openai"
    assert (anthropic.kind, anthropic.base_url) == ("anthropic", "")
    assert anthropic.api_key.reveal() == "sk-anthropic"
    assert loaded.notes == [
        "providers from the environment: openai (OPENAI_API_KEY), anthropic (ANTHROPIC_API_KEY)"
    ]
    assert "sk-" not in repr(loaded)


@pytest.mark.parametrize("environment", [{"OPENAI_API_KEY": ""}, {"OPENAI_BASE_URL": "http://x"}])
def test_an_empty_key_or_an_address_alone_makes_no_provider(environment: dict[str, str]) -> None:
    assert list(load_or_default(None, environment).config.providers) == ["fake"]


@pytest.mark.parametrize("text", ["", "[cache]\nttl = 1\n", "[providers]\n"])
def test_a_file_without_providers_takes_them_from_the_environment(write: Write, text: str) -> None:
    file = write(text)
    assert list(load_or_default(file, KEYS).config.providers) == ["openai", "anthropic"]
    assert list(load_or_default(file, {}).config.providers) == ["fake"]
    assert load(file, KEYS).providers == {}


def test_a_file_with_providers_takes_none_from_the_environment(write: Write) -> None:
    loaded = load_or_default(write('[providers.local]\nkind = "fake"\n'), KEYS)
    assert list(loaded.config.providers) == ["local"]
    assert loaded.notes == []


def test_models_may_name_providers_of_the_environment(write: Write) -> None:
    file = write('[models.m]\ntargets = ["openai/x"]\n')
    assert load_or_default(file, KEYS).config.models["m"].targets == ("openai/x",)
    (problem,) = problems(file)
    assert "configured: fake" in problem.message


def test_the_file_is_the_given_one_else_that_of_the_variable(write: Write, tmp_path: Path) -> None:
    file = write("[server]\nport = 1\n")
    other = tmp_path / "other.toml"
    other.write_text("[server]\nport = 2\n")
    environment = {"HEADGATE_CONFIG": str(other)}
    assert load_or_default(None, environment).file == other
    assert load_or_default(None, environment).config.server.port == 2
    assert load_or_default(file, environment).config.server.port == 1
    assert load_or_default(None, {"HEADGATE_CONFIG": ""}).file is None


def test_host_and_token_of_the_environment_win_over_the_file(write: Write) -> None:
    file = write('[server]\nhost = "127.0.0.1"\nadmin_token = "old"\nport = 5\n')
    server = load_or_default(
        file, {"HEADGATE_SERVER_HOST": "0.0.0.0", "HEADGATE_ADMIN_TOKEN": "t0ken"}
    ).config.server
    assert (server.host, server.port) == ("0.0.0.0", 5)
    assert server.admin_token.reveal() == "t0ken"
    kept = load_or_default(file, {"HEADGATE_ADMIN_TOKEN": ""}).config.server
    assert kept.admin_token.reveal() == "old"


def test_a_value_of_the_environment_is_not_expanded() -> None:
    loaded = load_or_default(None, {"OPENAI_API_KEY": "${X}", "X": "y"})
    assert loaded.config.providers["openai"].api_key.reveal() == "${X}"


def test_a_problem_of_a_variable_names_the_variable(write: Write) -> None:
    environment = {"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": "s3cret", "HEADGATE_ADMIN_TOKEN": "é"}
    found = problems(write("[server]\nport = 1\n"), environment)
    assert [problem.key for problem in found] == [
        "server.admin_token", "providers.openai.base_url",
    ]  # fmt: skip
    for problem, variable in zip(found, ("HEADGATE_ADMIN_TOKEN", "OPENAI_BASE_URL"), strict=True):
        assert problem.message.endswith(f"(from the environment variable {variable})")
        assert problem.line is None


def test_a_section_that_is_no_table_is_reported_beside_variables(write: Write) -> None:
    found = problems(write("server = 1\nproviders = 2\n"), {"HEADGATE_ADMIN_TOKEN": "t", **KEYS})
    assert [problem.key for problem in found] == ["server", "providers"]


def test_every_setting_has_an_origin(write: Write) -> None:
    file = write(
        '[cache]\nttl = "1h"\nmodels = { m = { ttl = 1 } }\n[providers.p]\nkind = "fake"\n'
    )
    origins = load_or_default(file, {"HEADGATE_ADMIN_TOKEN": "t"}).origins
    assert origins["cache.ttl"] == f"{file}:2"
    assert origins["cache.models.m.ttl"] == f"{file}:3"
    assert origins["cache.models.m.enabled"] == "default"
    assert origins["providers.p.kind"] == f"{file}:5"
    assert origins["providers.p.latency"] == "default"
    assert origins["server.admin_token"] == "environment HEADGATE_ADMIN_TOKEN"
    assert origins["server.port"] == "default"
    from_environment = load_or_default(None, KEYS).origins
    assert from_environment["providers.anthropic.kind"] == "environment ANTHROPIC_API_KEY"
    assert from_environment["providers.anthropic.base_url"] == "default"


def test_notes_hold_what_has_no_effect(write: Write) -> None:
    loaded = load_or_default(
        write('[batch]\ndelay_max = "51ms"\n[providers.p]\nkind = "fake"\n'), {}
    )
    assert isinstance(loaded, Loaded)
    assert loaded.notes == warnings(loaded.config) == [
        "batch.delay_max: nobody waits longer than 50 ms for company"
    ]  # fmt: skip


def test_the_environment_of_the_process_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*KEYS, "HEADGATE_CONFIG", "HEADGATE_ADMIN_TOKEN", "HEADGATE_SERVER_HOST"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-1")
    assert list(load_or_default(None).config.providers) == ["openai"]
