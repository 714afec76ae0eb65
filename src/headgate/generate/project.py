"""The files of a backend, made from the typed model of an app: the same app, the same bytes."""

from __future__ import annotations

import json
from typing import Any

from headgate.generate.building import PROVIDERS
from headgate.generate.kinds import example_of
from headgate.generate.model import App, Chain, Llm, Prompt
from headgate.generate.naming import Names, snake
from headgate.generate.prompts_file import PromptsFile
from headgate.generate.render import Templates, literal, one_line, quoted, toml
from headgate.generate.taking import Taking

_ADDRESSES = {"openai": "https://api.openai.com/v1", "anthropic": "https://api.anthropic.com"}
_KINDS = ("anthropic", "openai", "fake")


def project(app: App) -> dict[str, str]:
    """Path to text of every file."""
    return _Project(app).files()


class _Project:
    def __init__(self, app: App) -> None:
        self._app = app
        self._fill = Templates().fill
        self._llms = {llm.name: llm for llm in app.llms}
        self._prompts = {prompt.name: prompt for prompt in app.prompts}
        self._chains = {chain.name: chain for chain in app.chains}
        self._taking = Taking(app)
        names = Names("CONFIG", "RUNTIME_SETTINGS", "MODEL_CACHE_CONFIG")
        self._constants = {
            llm.name: names.take(f"LLM_{snake(llm.name)}".upper()) for llm in app.llms
        }
        self._prompts_file = PromptsFile(app, self._fill, self._constants, self._taking)

    def files(self) -> dict[str, str]:
        """Everything, in the order in which a reader would look at it."""
        return {
            "README.md": self._readme(),
            "headgate.toml": self._toml(),
            "requirements.txt": self._fill("requirements.txt"),
            "Dockerfile": self._fill("Dockerfile"),
            "app/__init__.py": "",
            "app/main.py": self._main(),
            "app/prompts.py": self._prompts_file.text(),
            "app/settings.py": self._settings(),
            "tests/__init__.py": "",
            "tests/conftest.py": self._conftest(),
            "tests/test_app.py": self._tests(),
        }

    def _main(self) -> str:
        names = Names("app", "lifespan", "operate", "prompts", "refuse", "respond", "settings")
        known = self._prompts_file
        routes = [
            self._fill(
                "route_llm.py",
                name=llm.name,
                function=names.take(f"llm_{snake(llm.name)}"),
                constant=self._constants[llm.name],
            )
            for llm in self._app.llms
        ]
        for prompt in self._app.prompts:
            routes.append(
                self._fill(
                    "route_prompt.py",
                    name=prompt.name,
                    function=names.take(f"prompt_{snake(prompt.name)}"),
                    arguments=known.arguments["prompt", prompt.name],
                    reply=known.replies[prompt.name],
                    constant=known.constants["prompt", prompt.name],
                    description=quoted(prompt.description),
                )
            )
        for chain in self._app.chains:
            routes.append(
                self._fill(
                    "route_chain.py",
                    name=chain.name,
                    function=names.take(f"chain_{snake(chain.name)}"),
                    arguments=known.arguments["chain", chain.name],
                    constant=known.constants["chain", chain.name],
                    description=quoted(chain.description),
                )
            )
        title, about = quoted(self._app.name), quoted(self._app.description)
        return self._fill("main.py", title=title, description=about, routes="".join(routes))

    def _settings(self) -> str:
        llms = [
            self._fill(
                "llm.py",
                constant=self._constants[llm.name],
                model=quoted(self._asked(llm)),
                dialect=quoted(_dialect(llm)),
                system_prompt=literal(llm.system_prompt, 4),
                params=literal(_params(llm), 4),
            )
            for llm in self._app.llms
        ]
        return self._fill(
            "settings.py",
            runtime=literal(self._app.runtime),
            models=literal(self._cache()),
            llms="".join(llms).rstrip("\n"),
        )

    def _cache(self) -> dict[str, Any]:
        """By model, as N3's MODEL_CACHE_CONFIG."""
        found = {model: {**settings} for model, settings in self._app.models.items()}
        for llm in self._app.llms:
            if llm.cache:
                found[llm.model] = {**found.get(llm.model, {}), **llm.cache}
        return found

    def _asked(self, llm: Llm) -> str:
        """What the model is called in a request: one that two providers have, or whose name would
        be read as a target with a weight, with its provider."""
        others = {other.provider for other in self._app.llms if other.model == llm.model}
        is_plain = len(others) == 1 and "=" not in llm.model
        return llm.model if is_plain else f"{llm.provider}/{llm.model}"

    def _toml(self) -> str:
        providers = {llm.provider: llm for llm in self._app.llms}
        blocks = []
        for name, llm in providers.items():
            if name == "fake" and not llm.base_url:
                blocks.append(self._fill("provider_fake.toml"))
                continue
            base_url = llm.base_url or _ADDRESSES[name]
            blocks.append(
                self._fill(
                    "provider.toml",
                    name=name,
                    kind=toml(name if name in _KINDS and not llm.base_url else _dialect(llm)),
                    variable=_variable(name),
                    base_url=base_url,
                )
            )
        targets = {
            llm.model: f"{llm.provider}/{llm.model}"
            for llm in self._app.llms
            if self._asked(llm) == llm.model
        }
        models = [
            self._fill("model.toml", name=toml(model), target=toml(target).replace("${", "$${"))
            for model, target in targets.items()
        ]
        return self._fill(
            "headgate.toml", providers="".join(blocks), models="".join(models).rstrip("\n")
        )

    def _readme(self) -> str:
        rows = [f"| `POST {path}` | {about} |\n" for path, about in self._routes()]
        path, body = next(iter(self._examples()))
        about = one_line(self._app.description)
        variables = [_variable(name) for name in self._keyed()]
        return self._fill(
            "README.md",
            title=one_line(self._app.name),
            description=f"{about}\n\n" if about else "",
            exports="".join(f"export {name}_API_KEY=...\n" for name in variables),
            example_path=path.replace(" ", "%20"),
            example_body=json.dumps(body).replace("'", "'\\''"),
            routes="".join(rows),
        )

    def _routes(self) -> list[tuple[str, str]]:
        rows = [
            (f"/api/llm/{llm.name}", '`{"prompt": "..."}` or `{"messages": [...]}`')
            for llm in self._app.llms
        ]
        for prompt in self._app.prompts:
            fields = ", ".join(f"`{argument.name}`" for argument in prompt.args)
            rows.append((f"/api/prompts/{prompt.name}", fields or "`{}`"))
        for chain in self._app.chains:
            more = [one.name for one in self._taking.of(chain).fields]
            fields = ", ".join(f"`{name}`" for name in (chain.input_key, *more))
            rows.append((f"/api/chains/{chain.name}", fields))
        return rows

    def _examples(self) -> list[tuple[str, dict[str, Any]]]:
        """A request for each route, those of prompts first."""
        found = [(f"/api/prompts/{one.name}", _sample(one)) for one in self._app.prompts]
        found += [(f"/api/llm/{llm.name}", {"prompt": "some text"}) for llm in self._app.llms]
        return found

    def _keyed(self) -> list[str]:
        named = dict.fromkeys(llm.provider for llm in self._app.llms)
        return [name for name in named if name != "fake" or self._address("fake")]

    def _address(self, provider: str) -> str:
        return next(llm.base_url for llm in self._app.llms if llm.provider == provider)

    # The tests.

    def _conftest(self) -> str:
        lines = []
        for name in self._keyed():
            at = "anthropic_base_url" if PROVIDERS.get(name) == "anthropic" else "base_url"
            lines.append(f'        "{_variable(name)}_BASE_URL": provider.{at},\n')
            lines.append(f'        "{_variable(name)}_API_KEY": "a-key-of-the-tests",\n')
        variables = "{\n" + "".join(lines) + "    }" if lines else "dict[str, str]()"
        return self._fill("conftest.py", variables=variables)

    def _tests(self) -> str:
        cases = []
        for llm in self._app.llms:
            cases.append(self._case(f"/api/llm/{llm.name}", {"prompt": "some text"}, [llm]))
        for prompt in self._app.prompts:
            cases.append(self._case(f"/api/prompts/{prompt.name}", _sample(prompt), [prompt]))
        for chain in self._app.chains:
            body = {chain.input_key: "some text"}
            for one in self._taking.of(chain).fields:
                if not one.has_default:
                    body[one.name] = example_of(one.kind)
            cases.append(self._case(f"/api/chains/{chain.name}", body, self._targets(chain)))
        return self._fill("test_app.py", cases="".join(cases))

    def _targets(self, chain: Chain) -> list[Llm | Prompt]:
        found: list[Llm | Prompt] = []
        for step in chain.steps:
            if step.kind == "chain":
                found += self._targets(self._chains[step.target])
            elif step.kind == "prompt":
                found.append(self._prompts[step.target])
            else:
                found.append(self._llms[step.target])
        return found

    def _case(self, path: str, body: dict[str, Any], asked: list[Llm | Prompt]) -> str:
        """No case for a prompt that the built-in fake cannot answer: it knows no schemas."""
        llms = [one if isinstance(one, Llm) else self._llms[one.llm] for one in asked]
        is_fake = [llm.provider == "fake" and not llm.base_url for llm in llms]
        for one, fake in zip(asked, is_fake, strict=True):
            if fake and isinstance(one, Prompt) and one.output is not None:
                return ""
        answers = [
            _answer(one, number)
            for number, (one, fake) in enumerate(zip(asked, is_fake, strict=True), 1)
            if not fake
        ]
        sent = {} if is_fake[0] else {"model": llms[0].model, **_params(llms[0])}
        enabled = self._app.runtime.get("llm_cache", {}).get("enabled", True)
        cache = self._cache()
        kept = [cache.get(llm.model, {}).get("enabled", enabled) for llm in llms]
        return self._fill(
            "case.py",
            path=quoted(path.replace(" ", "%20")),
            body=literal(body, 8),
            answers=literal(answers, 8),
            sent=literal(sent, 8),
            is_kept=repr(enabled and all(kept)),
        )


def _answer(asked: Llm | Prompt, number: int) -> str:
    if isinstance(asked, Prompt) and asked.output is not None:
        return json.dumps(example_of(asked.output))
    return f"answer {number}"


def _sample(prompt: Prompt) -> dict[str, Any]:
    return {one.name: example_of(one.kind) for one in prompt.args if not one.has_default}


def _dialect(llm: Llm) -> str:
    return PROVIDERS.get(llm.provider, "openai")


def _params(llm: Llm) -> dict[str, Any]:
    """In the words of the dialect."""
    params = {**llm.params}
    if _dialect(llm) == "anthropic" and "stop" in params:
        params["stop_sequences"] = params.pop("stop")
    return params


def _variable(provider: str) -> str:
    return snake(provider).upper()
