"""A container's process, and a time in which it does not run."""

import asyncio
import os
import signal
import sys
from pathlib import Path

from lab.parts.container_process import ContainerProcess
from lab.parts.probes import until


def test_a_stopped_process_gets_its_signal_when_it_runs_again(tmp_path: Path) -> None:
    """All processes of the container stand still; a signal waits until they run."""

    async def play() -> tuple[int | None, int | None]:
        program = "import signal; signal.signal(15, lambda *_: exit(4)); print('ready', flush=True)\nwhile True: pass"
        process = ContainerProcess([sys.executable, "-c", program], os.environ, tmp_path / "log")

        async def is_ready() -> bool:
            return process.lines == ["ready"]

        try:
            await process.start()
            await until(is_ready)
            process.stop_running(True)
            process.send(signal.SIGTERM)
            stopped = await process.ends(0.5)
            process.stop_running(False)
            return stopped, await process.ends(30)
        finally:
            await process.kill()
            process.close()

    assert asyncio.run(play()) == (None, 4)
