"""Places at which a test kills the process, to see that nothing is lost and nothing done twice.

`HEADGATE_FAILPOINT=committed` ends the process with SIGKILL when it reaches the point `committed`,
`committed:3` when it does so for the third time. How often is left stands in the environment
itself: a module keeps no state. Nobody sets the variable outside tests.
"""

from __future__ import annotations

import os
import signal

VARIABLE = "HEADGATE_FAILPOINT"
POINTS = (
    "validated",
    "committed",
    "intent",
    "upload_answered",
    "file_stored",
    "create_answered",
    "batch_stored",
    "between_polls",
    "fetched",
    "parsed",
    "before_commit",
    "after_commit",
    "cancel_sent",
)
"""In the order in which a job comes past them."""


def reach(name: str) -> None:
    """Says that the point `name` is reached: nothing but a look at the environment (0.5 us), unless
    a test waits for it."""
    armed = os.environ.get(VARIABLE)
    if armed is None:
        return
    wanted, _, count = armed.partition(":")
    if wanted != name:
        return
    left = int(count or 1) - 1
    if left > 0:
        os.environ[VARIABLE] = f"{name}:{left}"
        return
    os.kill(os.getpid(), signal.SIGKILL)
