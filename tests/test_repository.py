"""What a clone has beside code: pinned lists, a licence, commands, decisions; and what none of its
files may say: where packages come from, and on whose machine it was written.
"""

from __future__ import annotations

import json
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
from tidy.rooms import LIBRARIES

ROOT = Path(__file__).parents[1]
DEPENDENCIES_MAX = 10
# In two pieces, so that this file does not contain what it looks for.
INDEX_HOSTS = ("pypi" + ".org", "python" + "hosted", "npmjs" + ".", "debian" + ".org")
MACHINE_PATHS = re.compile(r"(?<![\w.*<>])/" + r"(?:work|root|home|opt|tmp|Users)/\w")
THE_SEEDS_OWN = '"persist_path": "/' + 'tmp/llm_cache.db"'
"""An example of the document the project began as; its tests hold it letter for letter."""
PIN = re.compile(r"^([a-z0-9-]+)==([^ ;]+)( ; [^\\]+)? \\$")
LISTS = ("runtime", "demo", "dev", "sdk-legacy", "frameworks")


def files() -> list[Path]:
    """What is in the repository, or would be after `git add`."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True).stdout
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


def direct() -> set[str]:
    """Names of the direct run-time dependencies."""
    wanted: list[str] = project()["project"]["dependencies"]
    return {re.split(r"[^a-z0-9-]", name)[0] for name in wanted}


def pins(purpose: str) -> dict[str, tuple[str, str]]:
    """{package: (version, on which platforms)} of one list."""
    lines = (ROOT / "requirements" / f"{purpose}.txt").read_text("utf-8").splitlines()
    found = [match for line in lines if (match := PIN.match(line))]
    return {match[1]: (match[2], match[3] or "") for match in found}


def section(file: str, heading: str) -> str:
    """The part of a Markdown file below a heading, up to the next of any level."""
    text = (ROOT / file).read_text("utf-8")
    return re.split(r"^#+ ", text.split(f"# {heading}\n", 1)[1], maxsplit=1, flags=re.M)[0]


def first_column(markdown: str) -> list[str]:
    rows = re.findall(r"^\| (.+?) \|", markdown, flags=re.M)
    return rows[1:]


def complaints(texts: dict[str, str]) -> list[str]:
    """`file:line` wherever a text names a package index or a path of the machine it came from."""
    found = []
    for name, text in texts.items():
        for number, line in enumerate(text.splitlines(), 1):
            strange = MACHINE_PATHS.search(line.replace(THE_SEEDS_OWN, ""))
            if strange or any(host in line for host in INDEX_HOSTS):
                found.append(f"{name}:{number}: {line.strip()[:80]}")
    return found


def test_no_file_names_a_package_index_or_a_path_of_this_machine() -> None:
    texts = {str(file.relative_to(ROOT)): file.read_text("utf-8", "replace") for file in files()}
    assert complaints(texts) == []


@pytest.mark.parametrize(
    "line", ["--index-url https://pypi" + ".org/simple", "see /" + "root/notes", "'/" + "tmp/x'"]
)
def test_an_index_host_or_a_machine_path_is_found(line: str) -> None:
    assert complaints({"a": f"first\n{line}"}) == [f"a:2: {line}"]


@pytest.mark.parametrize("line", ["a/work/b", "/v1/files", "https://example.com/home/x", "/work"])
def test_other_paths_are_not_taken_for_a_machine_path(line: str) -> None:
    assert complaints({"a": line}) == []


def test_lock_files_that_record_addresses_are_not_committed() -> None:
    names = [file.name for file in files()]
    assert not [n for n in names if n == "uv.lock" or n.startswith("pylock")]


def test_the_packages_of_node_are_pinned_by_hash_and_without_addresses() -> None:
    folder = ROOT / "examples" / "vercel-ai-sdk"
    asked = json.loads((folder / "package.json").read_text("utf-8"))["dependencies"]
    pinned = json.loads((folder / "package-lock.json").read_text("utf-8"))["packages"]
    assert pinned.pop("")["dependencies"] == asked
    assert all(re.fullmatch(r"[\d.]+", version) for version in asked.values())
    assert all(one["integrity"].startswith("sha512-") for one in pinned.values())
    assert not [name for name, one in pinned.items() if "resolved" in one]


@pytest.mark.parametrize("purpose", LISTS)
def test_every_requirement_is_pinned_by_version_and_hash(purpose: str) -> None:
    text = (ROOT / "requirements" / f"{purpose}.txt").read_text("utf-8")
    for entry in re.split(r"\n(?=\S)", text):
        lines = entry.strip().splitlines()
        assert PIN.match(lines[0]), lines[0]
        assert re.match(r"    --hash=sha256:[0-9a-f]{64}", lines[1]), lines[0]
    assert "://" not in text


def test_the_demo_list_is_part_of_the_list_for_development() -> None:
    """Both are installed into the same environment, in either order. What a list needs on some
    platforms only, a longer one may need on all."""
    for shorter, longer in (("runtime", "demo"), ("demo", "dev")):
        wanted = pins(longer)
        for name, (version, platforms) in pins(shorter).items():
            assert wanted.get(name) in ((version, platforms), (version, "")), name


def test_the_lists_hold_what_the_project_asks_for() -> None:
    groups = project()["dependency-groups"]
    assert direct() <= pins("runtime").keys()
    for group in ("demo", "dev", "sdk-legacy", "frameworks"):
        asked = {re.split(r"[^a-z0-9-]", n)[0] for n in groups[group] if isinstance(n, str)}
        assert asked <= pins(group).keys()


def test_the_lists_carry_both_generations_of_the_official_sdks() -> None:
    now, before = pins("dev"), pins("sdk-legacy")
    assert [now[name][0].split(".")[0] for name in ("openai", "anthropic")] == ["3", "2"]
    assert [before[name][0].split(".")[0] for name in ("openai", "anthropic")] == ["2", "0"]


def test_there_are_at_most_ten_direct_dependencies() -> None:
    assert len(direct()) <= DEPENDENCIES_MAX


def test_the_package_imports_nothing_that_it_does_not_ask_for() -> None:
    """Besides rich, which typer brings, yarl, whose URL type is part of aiohttp's interface,
    openai, which only the demo needs, and the extras, which say so when they are missing (that
    of OpenTelemetry is two packages with one name)."""
    imported = {name.replace("_", "-") for name in LIBRARIES}
    asked = project()["project"]["optional-dependencies"].values()
    extras = {re.split(r"[^a-z0-9-]", name)[0] for names in asked for name in names}
    assert imported <= direct() | extras | {"rich", "yarl", "openai", "opentelemetry"}


def test_each_dependency_stands_in_the_decision_with_its_reason() -> None:
    decided = section("docs/decisions/0001-dependencies.md", "Decision")
    assert set(first_column(decided)) == direct()


def test_no_file_asks_for_litellm() -> None:
    asked = [
        (ROOT / "pyproject.toml").read_text("utf-8"),
        *(name for p in LISTS for name in pins(p)),
    ]
    assert not [text for text in asked if "litellm" in text]


def test_every_decision_is_in_the_index() -> None:
    folder = ROOT / "docs" / "decisions"
    written = {file.name for file in folder.glob("[0-9]*.md")}
    listed = re.findall(
        r"^\| \[(\d{4})\]\((\S+)\)", (folder / "README.md").read_text("utf-8"), re.M
    )
    assert written == {name for _, name in listed}
    assert all(name.startswith(number) for number, name in listed)


@pytest.mark.parametrize(
    "word",
    ["call", "attempt", "target", "reply", "entry", "key", "scope", "outcome", "refusal"],
)
def test_the_glossary_gives_each_word_of_the_contract_one_meaning(word: str) -> None:
    words = re.findall(r"\*\*(.+?)\*\*", (ROOT / "docs" / "glossary.md").read_text("utf-8"))
    assert words.count(word) == 1


def test_links_between_documents_lead_somewhere() -> None:
    missing = []
    for file in (file for file in files() if file.suffix == ".md"):
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", file.read_text("utf-8")):
            if not (file.parent / link).exists():
                missing.append(f"{file.relative_to(ROOT)}: {link}")
    assert missing == []


def test_the_licence_is_apache_2() -> None:
    text = (ROOT / "LICENSE").read_text("utf-8")
    assert "Apache License" in text
    assert "END OF TERMS AND CONDITIONS" in text
    assert project()["project"]["license"] == "Apache-2.0"


def test_make_prints_every_target_with_its_purpose() -> None:
    told = subprocess.run(["make", "-s"], cwd=ROOT, capture_output=True, check=True, text=True)
    makefile = (ROOT / "Makefile").read_text("utf-8")
    targets = re.findall(r"^\.PHONY: (\S+)$", makefile, re.M)
    lines = dict(re.findall(r"^make (\S+) +(.+)$", told.stdout, re.M))
    assert list(lines) == targets
    assert {"help", "demo", "test", "test-full", "check", "bench", "docs"} <= lines.keys()


def test_ci_runs_what_a_contributor_runs() -> None:
    script = ROOT / ".ci" / "run"
    assert script.read_text("utf-8").splitlines()[-1] == "exec make test"
    assert script.stat().st_mode & 0o111


def test_contributing_is_one_page() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    assert len(text.splitlines()) <= 60
    named = set(re.findall(r"make ([a-z-]+)", text))
    assert named <= set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.M))
