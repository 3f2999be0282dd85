"""A CPU quota for what runs in one container: a control group, as a container engine makes one of `cpus`.

Of the first version of control groups or the second, whichever the machine has:
https://docs.kernel.org/scheduler/sched-bwc.html, https://docs.kernel.org/admin-guide/cgroup-v2.html#cpu
"""

import os
from pathlib import Path

from lab.parts.processes import wait_for

PERIOD = 100_000  # microseconds; the kernel's own, which container engines keep
MOUNTS = Path("/proc/self/mounts")


def hierarchy() -> Path | None:
    """The control group in which others with a CPU quota can be made; None where there is none, or only to be read."""
    for line in MOUNTS.read_text().splitlines():
        _, mounted_on, kind, options, *_ = line.split()
        folder = Path(mounted_on)
        if kind == "cgroup":
            has_cpu = "cpu" in options.split(",")
        else:
            has_cpu = kind == "cgroup2" and "cpu" in (folder / "cgroup.subtree_control").read_text().split()
        if has_cpu and os.access(folder, os.W_OK):
            return folder
    return None


def make(name: str, share: float) -> Path:
    """A new control group whose processes together may use that share of a core; raises OSError."""
    parent = hierarchy()
    if parent is None:
        raise FileNotFoundError("no control group `cpu` in which this user may make others")
    group, quota = parent / name, round(share * PERIOD)
    group.mkdir()
    if (parent / "cgroup.controllers").exists():  # the second version
        (group / "cpu.max").write_text(f"{quota} {PERIOD}")
    else:
        (group / "cpu.cfs_period_us").write_text(str(PERIOD))
        (group / "cpu.cfs_quota_us").write_text(str(quota))
    return group


def within(group: Path, command: list[str]) -> list[str]:
    """The command, run in the group from its first moment; the process ID is its own."""
    return ["sh", "-c", 'echo $$ > "$0" && exec "$@"', str(group / "cgroup.procs"), *command]


def remove(group: Path) -> None:
    """Remove a group when its last process, which has been killed, has left it; raises TimeoutError."""

    def obstacle() -> str | None:
        try:
            group.rmdir()
        except OSError as error:
            return str(error)
        return None

    wait_for(obstacle, 10)
