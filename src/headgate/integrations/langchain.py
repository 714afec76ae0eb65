"""LangChain: its cache of answers, kept where headgate keeps its own.

LangChain asks it for whole answers only: `.stream()` goes past any of its caches. A chat model with
`http_client=runtime.http_client()` has both, and joining, and numbers.
"""

from __future__ import annotations

import json
from typing import Any

from headgate.runtime import Runtime
from headgate.shelf import Shelf

try:
    from langchain_core.caches import RETURN_VAL_TYPE, BaseCache
    from langchain_core.messages import message_to_dict, messages_from_dict
    from langchain_core.outputs import (
        ChatGeneration,
        ChatGenerationChunk,
        Generation,
        GenerationChunk,
    )
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "headgate.integrations.langchain needs langchain-core: pip install 'headgate[langchain]'"
    ) from error

NAMESPACE = "langchain"
_KINDS = {
    kind.__name__: kind
    for kind in (ChatGeneration, ChatGenerationChunk, Generation, GenerationChunk)
}
_UNREADABLE = (ValueError, TypeError, KeyError, AttributeError)


class HeadgateCache(BaseCache):  # type: ignore[misc]
    """`set_llm_cache(HeadgateCache(runtime))`, or `cache=` of one model.

    Answers live in the runtime's tiers under `namespace`, for the time that its configuration has
    for the model; the disk tier keeps them, too. What has no model in LangChain's description of
    the call stands under the name "langchain". Usable from any thread and event loop.
    """

    def __init__(self, runtime: Runtime, namespace: str = NAMESPACE) -> None:
        self._shelf = Shelf(runtime, namespace)

    def lookup(self, prompt: str, llm_string: str) -> RETURN_VAL_TYPE | None:
        """The stored answers; may wait for the disk."""
        return _read(self._shelf.value(self._key(prompt, llm_string)))

    def update(self, prompt: str, llm_string: str, return_val: RETURN_VAL_TYPE) -> None:
        """Keeps a copy, in place of an older one."""
        key = self._key(prompt, llm_string)
        self._shelf.put(key, model_of(llm_string), [_written(one) for one in return_val])

    def clear(self, **kwargs: Any) -> None:
        """Forgets every answer of this namespace; no keyword means anything."""
        self._shelf.clear()

    async def alookup(self, prompt: str, llm_string: str) -> RETURN_VAL_TYPE | None:
        """As `lookup`; nobody but this task waits for the disk."""
        return _read(await self._shelf.avalue(self._key(prompt, llm_string)))

    async def aupdate(self, prompt: str, llm_string: str, return_val: RETURN_VAL_TYPE) -> None:
        """As `update`, which waits for nobody: the disk is written to behind it."""
        self.update(prompt, llm_string, return_val)

    async def aclear(self, **kwargs: Any) -> None:
        """As `clear`; nobody but this task waits for the disk."""
        await self._shelf.runtime.off_loop(self.clear)

    def _key(self, prompt: str, llm_string: str) -> bytes:
        return self._shelf.key(prompt, model_of(llm_string), {"llm": llm_string})


def model_of(llm_string: str) -> str:
    """The model in LangChain's description of a call: what was serialised, or parameters."""
    try:
        described, _ = json.JSONDecoder().raw_decode(llm_string)
        settings = described.get("kwargs", described)
        name = settings.get("model_name") or settings.get("model")
    except (ValueError, AttributeError):
        return NAMESPACE
    return name if isinstance(name, str) else NAMESPACE


def _written(answer: Any) -> dict[str, Any]:
    """One answer as a value that can be kept anywhere."""
    written = {"kind": type(answer).__name__, "details": answer.generation_info}
    if isinstance(answer, ChatGeneration):
        return {**written, "message": message_to_dict(answer.message)}
    return {**written, "text": answer.text}


def _read(held: Any) -> RETURN_VAL_TYPE | None:
    """What was written; None where this version of LangChain cannot read it."""
    if held is None:
        return None
    try:
        return [_answer(**written) for written in held]
    except _UNREADABLE:
        return None


def _answer(kind: str, details: Any, text: str = "", message: Any = None) -> Any:
    if message is None:
        return _KINDS[kind](text=text, generation_info=details)
    return _KINDS[kind](message=messages_from_dict([message])[0], generation_info=details)
