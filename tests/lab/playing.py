"""A service that the lab plays: its containers as real shells, or as a table in memory in virtual time.

`test_programs.py` checks the table against the shells.
"""

import asyncio
import signal
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.ecs.agent_rules import AgentTimes
from lab.ecs.engine import OnLine, OsProcess, Process, Start, start
from lab.ecs.runtime import ContainerSpec, Runtime, Service
from lab.ecs.state import Condition
from lab.parts.history import History, Recorder, Run, began_now, read
from tests.helper import virtual

Story = Callable[[Runtime], Awaitable[None]]
Play = Callable[..., History]  # `play` or `play_virtually`

CHECKS = 0.05
# a hundredth of the agent's times: looks every 0.05 s, health every 0.2 s, lone changes after 0.1 to 0.3 s
# seconds that two times of a record may be off: it has four digits
EXACT = 0.001

SERVICE = Service(desired=1, agent=AgentTimes().scaled(0.01))
ENVIRON = {"PATH": "/usr/bin:/bin"}
# a shell's program: its arguments are the code, the seconds and how often it must be asked
SCRIPT = (
    """trap 'n=$((n+1)); echo asked; [ "$1" != never ] && [ $n -eq $3 ] && sleep $2 && exit $1' TERM; """
    "echo ready; while :; do sleep 0.05; done"
)


@dataclass(frozen=True)
class Program:
    """A program that says that it is ready, so that no signal comes before its trap, and then each SIGTERM.

    code, after: how it leaves when asked to, and after how many seconds; a code of None: it ignores SIGTERM
    asks: how often it must be asked
    """

    code: int | None = 0
    after: float = 0.0
    asks: int = 1

    @property
    def command(self) -> list[str]:
        """It as a shell's."""
        code = "never" if self.code is None else str(self.code)
        return ["sh", "-c", SCRIPT, "program", code, str(float(self.after)), str(self.asks)]

    @staticmethod
    def of(command: Sequence[str]) -> "Program":
        """The program with that command."""
        code, after, asks = command[-3:]
        program = Program(None if code == "never" else int(code), float(after), int(asks))
        assert program.command == list(command), f"{command} is no program of a test"
        return program


class FakeProcess:
    """A `Program` in virtual time."""

    def __init__(self, program: Program, log: Path, on_line: OnLine | None) -> None:
        self._program, self._log, self._on_line = program, log, on_line
        self._asked = 0
        self._leaving: asyncio.TimerHandle | None = None
        self._ended = asyncio.Event()
        self.frozen = self._sigterm_waits = False
        self.returncode: int | None = None

    async def wait(self) -> int:
        await self._ended.wait()
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, number: signal.Signals) -> None:
        if self.returncode is not None:
            raise ProcessLookupError
        match number:
            case signal.SIGKILL:
                self._end(-number)
            case signal.SIGSTOP if self._leaving is None:
                self.frozen = True
            case signal.SIGCONT:
                waits, self.frozen, self._sigterm_waits = self._sigterm_waits, False, False
                if waits:
                    self._ask()
            case signal.SIGTERM if self.frozen:
                self._sigterm_waits = True  # a second one has no effect: the kernel joins those that wait
            case signal.SIGTERM:
                self._ask()
            case _:
                raise NotImplementedError(f"no program here knows {number.name} now")

    def _ask(self) -> None:
        if self._leaving is None:
            self._say("asked")
            self._asked += 1
            if self._asked == self._program.asks and self._program.code is not None:
                loop = asyncio.get_running_loop()
                self._leaving = loop.call_later(self._program.after, self._end, self._program.code)

    def kill(self) -> None:
        if self.returncode is None:
            self._end(-signal.SIGKILL)

    def _end(self, code: int) -> None:
        if self.returncode is None:
            self.returncode = code
            self._ended.set()

    def _say(self, line: str) -> None:
        with self._log.open("a") as output:
            output.write(f"{line}\n")
        if self._on_line:
            self._on_line(f"{line}\n".encode())

    async def read(self) -> None:
        self._say("ready")
        await self._ended.wait()


async def start_fake(
    command: Sequence[str], environ: Mapping[str, str], log: Path, on_line: OnLine | None, pipe: int | None
) -> FakeProcess:
    """As `engine.start`, but in memory."""
    assert pipe is None, "no program here has an unread pipe"
    return FakeProcess(Program.of(command), log, on_line)


def is_frozen(process: Process) -> bool:
    """Whether SIGSTOP has stopped it. The state of a real one in /proc is T then."""
    if isinstance(process, FakeProcess):
        return process.frozen
    assert isinstance(process, OsProcess)
    return Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def container(
    name: str, program: Program | Sequence[str], stop_timeout: float = 20, **depends_on: Condition
) -> ContainerSpec:
    """A container that is HEALTHY once it has said a line."""
    heard: list[bytes] = []

    async def check() -> bool:
        return bool(heard)

    command = program.command if isinstance(program, Program) else list(program)
    return ContainerSpec(name, command, ENVIRON, depends_on, True, stop_timeout, check, CHECKS, on_line=heard.append)


def play(
    folder: Path,
    service: Service,
    containers: Callable[[], list[ContainerSpec]],
    story: Story,
    hear: Callable[[Runtime], None] = lambda runtime: None,
) -> History:
    """Bring the service up with real processes, let the story happen, and give the record; `hear` gets each event."""
    asyncio.run(_play(folder, service, containers, story, hear, start))
    return read(folder / "record.jsonl")


def play_virtually(
    folder: Path,
    service: Service,
    containers: Callable[[], list[ContainerSpec]],
    story: Story,
    hear: Callable[[Runtime], None] = lambda runtime: None,
) -> History:
    """The same in virtual time, with processes in memory."""
    virtual.run(_play(folder, service, containers, story, hear, start_fake))
    return read(folder / "record.jsonl")


async def _play(
    folder: Path,
    service: Service,
    containers: Callable[[], list[ContainerSpec]],
    story: Story,
    hear: Callable[[Runtime], None],
    start_process: Start,
) -> None:
    started: list[Runtime] = []

    def recorded(_: object) -> None:
        for runtime in started:
            hear(runtime)

    clock = asyncio.get_running_loop().time
    record = Recorder(folder / "record.jsonl", Run("", {}, "", "", "", {}, began_now()), recorded, clock)
    try:
        async with asyncio.TaskGroup() as group:
            runtime = Runtime(
                service, lambda id, address: containers(), folder, record, group, start_process=start_process
            )
            started.append(runtime)
            keeping = group.create_task(runtime.keep_count())
            try:
                await until(lambda: [task.health for task in runtime.tasks.values()] == ["HEALTHY"] * service.desired)
                await story(runtime)
            finally:
                keeping.cancel()
                await runtime.kill()
    finally:
        record.close()


async def until(fact: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not fact():
            await asyncio.sleep(0.02)


async def scale_to_none(runtime: Runtime) -> None:
    runtime.scale(0)
    await until(lambda: all(task.status == "STOPPED" for task in runtime.tasks.values()))


def events_of(history: History, *names: str) -> list[str]:
    """The events of containers with these names, in order, as `name container`."""
    events = [event for event in history.events if event.what == "container" and event.name in names]
    return [f"{event.name} {event.detail['container']}" for event in events]


def exit_codes(history: History) -> list[int]:
    """Of the containers that have stopped, in order."""
    stopped = [event for event in history.events if (event.what, event.name) == ("container", "stopped")]
    return [event.detail["exit_code"] for event in stopped]


def times_of(history: History, what: str, name: str, container: str | None = None) -> list[float]:
    """When such events were, in order; of all tasks."""
    events = [each for each in history.events if (each.what, each.name) == (what, name)]
    return [each.at for each in events if container in (None, each.detail.get("container"))]
