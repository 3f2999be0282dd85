"""An event loop whose clock jumps to the next event: a life of two minutes passes in a millisecond.

It is only for code that calls nothing outside memory. If no event is due, a coroutine waits for something that cannot
happen: the loop raises an error at once instead of hanging.
"""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class _JumpingSelector(selectors.SelectSelector):
    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("nothing is due any more: the test would hang")
        self.now += max(0.0, timeout)
        return []


class _VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now

    def freeze(self, until: float) -> None:
        """The process is stopped until that moment: then everything is due at once that came meanwhile."""
        self._jumping.now = max(self._jumping.now, until)


def freeze(until: float) -> None:
    """Stop the running story until that moment, as SIGSTOP and SIGCONT do."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, _VirtualLoop)
    loop.freeze(until)


def run(story: Coroutine[Any, Any, T]) -> T:
    """Run `story` from moment 0 of a clock of its own."""
    with asyncio.Runner(loop_factory=_VirtualLoop) as runner:
        return runner.run(story)
