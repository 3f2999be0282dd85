"""The fault of Envoy's admin API: each task of a run gets a proxy that fails when the helper calls it."""

import asyncio

from lab.ecs.runtime import Runtime
from lab.parts.admin_proxy import PORT, AdminProxy, AdminFault
from lab.parts.history import Recorder


async def inject(runtime: Runtime, fault: AdminFault, seconds: float, record: Recorder) -> None:
    """Put a proxy before the admin API of every task. Runs until it is cancelled.

    The fault begins with the first call of /healthcheck/fail, when the helper needs the answer. It lasts some seconds.
    """
    proxied: set[str] = set()
    while True:
        change = runtime.change
        for task in runtime.tasks.values():
            if task.id not in proxied:
                proxied.add(task.id)
                runtime.spawn(_serve(task.id, task.address, fault, seconds, record))
        await change.wait()


async def _serve(task: str, address: str, fault: AdminFault, seconds: float, record: Recorder) -> None:
    calls: set[str] = set()
    loop = asyncio.get_running_loop()

    def on_call(path: str) -> None:
        if path == "/healthcheck/fail" and path not in calls:
            record.event("admin", fault, task, seconds=seconds)
            proxy.fault = fault
            loop.call_later(seconds, proxy.end_fault)
        calls.add(path)

    proxy = AdminProxy(address, (address, PORT), on_call)
    await proxy.serve()
