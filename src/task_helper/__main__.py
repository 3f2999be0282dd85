"""The program's first statements: signals are armed here, before anything that takes time is imported.

As PID 1 of its container the process gets no signal that it has no handler for: ECS's SIGTERM would be lost, and the
task killed after its stopTimeout.
"""

import signal
import sys
import time

# the name of each signal that came before the event loop ran, and when
EARLY: list[tuple[str, float]] = []


def _remember(number: int, frame: object) -> None:
    EARLY.append((signal.Signals(number).name, time.monotonic()))


if sys.argv[1:2] == ["run"]:
    signal.signal(signal.SIGTERM, _remember)
    signal.signal(signal.SIGINT, _remember)
    signal.signal(signal.SIGQUIT, _remember)


def main() -> int:
    """Run the command line of this process; the exit code."""
    from task_helper import cli

    return cli.main(sys.argv[1:], EARLY)


if __name__ == "__main__":
    sys.exit(main())
