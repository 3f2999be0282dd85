"""The kernel's report about this process's time."""

import pytest

from task_helper.timing import waited_for_cpu


def test_waiting_for_the_cpu_without_proc(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the kernel's report the time is unknown."""

    def missing(*_: object) -> None:
        raise FileNotFoundError

    monkeypatch.setattr("builtins.open", missing)
    assert waited_for_cpu() is None
