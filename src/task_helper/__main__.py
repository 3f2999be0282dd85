"""The program's first statements: `run` catches signals here, before it imports anything that takes time.

The process is PID 1 of its container, so the kernel drops every signal for which it has no handler. ECS's SIGTERM would
be lost, and ECS would kill the task after its stopTimeout. The image's entry point therefore blocks these signals
before it starts Python: the kernel keeps a blocked signal until it is unblocked (tools/image-entry-point).
"""

import sys

# the name and the time of each signal that came before the event loop ran
EARLY: list[tuple[str, float]] = []

# A health check runs every few seconds in every task. It ends sooner than Python could import `signal`.
ONLY_HEALTHCHECK = sys.argv[1:] == ["healthcheck"]

if not ONLY_HEALTHCHECK:
    import signal
    import time

    def _remember(number: int, frame: object) -> None:
        EARLY.append((signal.Signals(number).name, time.monotonic()))

    STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
    if sys.argv[1:2] == ["run"]:
        for number in STOP_SIGNALS:
            signal.signal(number, _remember)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)


def main() -> int:
    """Run the command line of this process and return the exit code."""
    if ONLY_HEALTHCHECK:
        from task_helper import gate

        return gate.healthcheck()
    from task_helper import cli

    return cli.main(sys.argv[1:], EARLY)


if __name__ == "__main__":
    sys.exit(main())
