"""CPU shares for what runs in one container, beside a busy one: control groups, as ECS's agent makes them of `cpu`.

Containers share what the whole task may use, in proportion, as far as they want it:
https://docs.kernel.org/scheduler/sched-design-CFS.html, https://docs.kernel.org/admin-guide/cgroup-v2.html#cpu
"""

import sys
from pathlib import Path

from lab.parts import cpu_quota, processes

BUSY = [sys.executable, "-c", "while True: pass"]


def weight(shares: int) -> int:
    """CPU shares as the second version of control groups has them, by the formula of container engines (runc)."""
    return 1 + (shares - 2) * 9999 // 262142


class BusyNeighbour:
    """A busy process with so many CPU `shares` in a task whose containers may together use `quota` of a core."""

    def __init__(self, name: str, quota: float, shares: int) -> None:
        self._task = cpu_quota.make(name, quota)
        self._second_version = (self._task / "cgroup.controllers").exists()
        if self._second_version:
            (self._task / "cgroup.subtree_control").write_text("+cpu")
        self._containers: list[Path] = []
        self._process = processes.start(cpu_quota.within(self.container("busy", shares), BUSY), Path("/dev/null"))

    @property
    def pid(self) -> int:
        """Of the busy process."""
        return self._process.pid

    def container(self, name: str, shares: int) -> Path:
        """The control group of another container with so many CPU shares."""
        group = self._task / name
        group.mkdir()
        if self._second_version:
            (group / "cpu.weight").write_text(str(weight(shares)))
        else:
            (group / "cpu.shares").write_text(str(shares))
        self._containers.append(group)
        return group

    def close(self) -> None:
        """Remove all groups, whose other processes have been killed; raises TimeoutError."""
        processes.kill_group(self._process)
        self._process.wait()
        for group in (*self._containers, self._task):
            cpu_quota.remove(group)
