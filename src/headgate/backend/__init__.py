"""What generated backends are made of: declared models, prompts and chains, and the `Backend` that
answers for them through a `Runtime`. It knows no web framework.
"""

from headgate.backend.body_limit import BodyLimit
from headgate.backend.declared import PREVIOUS, Chain, Llm, Prompt, Step
from headgate.backend.opening import opened
from headgate.backend.served import Events, Served, unfit
from headgate.backend.service import Backend

__all__ = [
    "PREVIOUS",
    "Backend",
    "BodyLimit",
    "Chain",
    "Events",
    "Llm",
    "Prompt",
    "Served",
    "Step",
    "opened",
    "unfit",
]
