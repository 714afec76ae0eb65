"""What each step of a chain takes from where: decided when the backend is generated, so that its
code says it.
"""

from __future__ import annotations

from msgspec import Struct

from headgate.generate.model import App, Argument, Chain, Prompt

PREVIOUS = ""
"""Where a step takes what the step before it has said."""


class Takes(Struct, frozen=True):
    """What a chain takes from its request besides its input; and what each of its steps takes:
    argument to field, or to `PREVIOUS`."""

    fields: tuple[Argument, ...]
    steps: tuple[dict[str, str], ...]


class Taking:
    """Works out the chains of one app, which has no findings.

    An argument that is called as a field of an earlier output takes that. Where a prompt takes no
    such field, one argument takes all that the step before has said: that which is called as the
    chain's input, else the first that nothing else is for. The rest come with the request, as does
    the input itself.
    """

    def __init__(self, app: App) -> None:
        self._prompts = {prompt.name: prompt for prompt in app.prompts}
        self._chains = {chain.name: chain for chain in app.chains}
        self._known: dict[str, Takes] = {}

    def of(self, chain: Chain) -> Takes:
        """What a chain and its steps take."""
        if chain.name not in self._known:
            self._known[chain.name] = self._work_out(chain)
        return self._known[chain.name]

    def _work_out(self, chain: Chain) -> Takes:
        fields: dict[str, Argument] = {}
        steps, told = [], set[str]()
        for step in chain.steps:
            takes: dict[str, str] = {}
            if step.kind == "prompt":
                takes = _takes(self._prompts[step.target], chain.input_key, told, fields)
            elif step.kind == "chain":
                inner = self.of(self._chains[step.target]).fields
                for one in [one for one in inner if one.name not in told]:
                    fields.setdefault(one.name, one)
            told |= self._output(step.kind, step.target)
            steps.append(takes)
        return Takes(tuple(fields.values()), tuple(steps))

    def _output(self, kind: str, target: str) -> set[str]:
        """The fields of what a step says; none for a text."""
        if kind == "chain":
            last = self._chains[target].steps[-1]
            return self._output(last.kind, last.target)
        output = self._prompts[target].output if kind == "prompt" else None
        return {name for name, _ in output.fields} if output else set()


def _takes(
    prompt: Prompt, input_key: str, told: set[str], fields: dict[str, Argument]
) -> dict[str, str]:
    """Argument to field for one prompt; what comes with the request is added to `fields`."""
    takes = {argument.name: argument.name for argument in prompt.args}
    free = [one for one in prompt.args if one.name not in told and one.name != input_key]
    if not told.intersection(takes):
        asked = [one.name for one in free if not one.has_default and one.name not in fields]
        for first in [input_key] if input_key in takes else asked[:1]:
            takes[first] = PREVIOUS
        free = [one for one in free if takes[one.name] != PREVIOUS]
    for argument in free:
        fields.setdefault(argument.name, argument)
    return takes
