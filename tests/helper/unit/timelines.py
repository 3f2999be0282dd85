"""A whole life of the helper in virtual time, described by a timeline."""

import asyncio
import logging
import random
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from task_helper.application import Application
from task_helper.ecs.metadata import Metadata
from task_helper.ecs.replacement import Look
from task_helper.envoy.admin import Envoy
from task_helper.gate import Status
from task_helper.life.lifecycle import Lifecycle, Stop, Surroundings
from task_helper.life.record import Exit
from task_helper.settings import Settings, from_env
from tests.helper import virtual
from tests.helper.fakes import (
    APPLICATION,
    ENVOY,
    METADATA,
    METADATA_OF_FIRST,
    SINCE,
    FakeApplication,
    FakeEnvoy,
    FakeMetadata,
    Mood,
    Network,
)

# from the exit of a container to the SIGTERM of the next: 0.05 s under the real agent
GAP = 0.05

# what happens at a moment: a signal's name, or who (envoy, app, metadata, container) and what becomes of it
Timeline = Sequence[tuple[float, str]]


class Life(NamedTuple):
    """How and when it ended, the calls of Envoy and their moments, and the log as (moment, event, fields)."""

    exit: Exit
    at: float
    ending: str
    journal: list[tuple[float, str]]
    log: list[tuple[float, str, dict[str, Any]]]

    @property
    def events(self) -> list[str]:
        return [event for _, event, _ in self.log]

    def fields(self, event: str) -> dict[str, Any]:
        """The fields of the only line with this event."""
        (fields,) = [fields for _, name, fields in self.log if name == event]
        return fields


class World:
    """The surroundings of a life; tests change its servers before it begins."""

    def __init__(self) -> None:
        self.envoy = FakeEnvoy()
        self.app = FakeApplication()
        self.metadata = FakeMetadata()
        self.shown: list[str] = []
        # looks at the service by the moment from which each is valid; before the first, and if it is None, looks fail
        self.looks: list[tuple[float, Look | None]] = []
        self.show: Callable[[Status], None] = self.shown.append

    def live(
        self,
        timeline: Timeline,
        *,
        app: bool = True,
        metadata: bool = False,
        starts: float = 0,
        settings: Mapping[str, str] | None = None,
        **more: str,
    ) -> Life:
        """Live with these settings while `timeline` happens; `app` and `metadata` are whether the helper knows them.

        The helper starts at the moment `starts`.
        """
        environ = {**(settings or {}), **more}
        random.seed(0)  # the pauses between looks at the service are drawn
        return virtual.run(self._live(timeline, app, metadata, starts, environ))

    async def _live(
        self, timeline: Timeline, app: bool, metadata: bool, starts: float, environ: dict[str, str]
    ) -> Life:
        network = Network(self.envoy, self.app, self.metadata)
        loop = asyncio.get_running_loop()
        stop = Stop()
        log: list[tuple[float, str, dict[str, Any]]] = []
        for moment, what in timeline:
            if moment == 0:
                self._happen(what, stop)
            else:
                loop.call_at(moment, self._happen, what, stop)
        await asyncio.sleep(starts)
        with _recorded(log):
            exit = await self._lifecycle(from_env(environ), network, stop, app=app, metadata=metadata).live()
        return Life(exit, round(loop.time(), 3), log[-1][2]["reason"], self.envoy.journal, log)

    def _lifecycle(
        self, settings: Settings, network: Network, stop: Stop, *, app: bool = True, metadata: bool = True
    ) -> Lifecycle:
        first_of_chain = settings.plan.hands_over_to and "first" in self.metadata.containers
        uri = METADATA_OF_FIRST if first_of_chain else METADATA
        other = settings.plan.other_helper
        surroundings = Surroundings(
            Envoy(ENVOY, network.request, network.accepts),
            Application(APPLICATION, network.request) if app else None,
            Metadata(uri if metadata else None, SINCE, network.request, other.name if other else None),
            self.show,
            self._look,
        )
        return Lifecycle(settings, surroundings, stop)

    def live_in_chain(self, timeline: Timeline, settings: Mapping[str, str], first: float, second: float) -> list[Life]:
        """Two helpers with stopTimeouts of `first` and `second` seconds live while `timeline` happens.

        As ECS does, this stops the first helper, and the second one as soon as the first has exited. Returns the lives
        of those that end by themselves.
        """
        settings_of_first = {**settings, "STOP_TIMEOUT": f"{first}", "HANDS_OVER_TO": f"first-2:{second}"}
        settings_of_second = {**settings, "STOP_TIMEOUT": f"{second}", "TAKES_OVER_FROM": f"first:{first}"}
        random.seed(0)
        return virtual.run(self._live_in_chain(timeline, from_env(settings_of_first), from_env(settings_of_second)))

    async def _live_in_chain(self, timeline: Timeline, first: Settings, second: Settings) -> list[Life]:
        network, loop = Network(self.envoy, self.app, self.metadata), asyncio.get_running_loop()
        stops, lives, logs = (Stop(), Stop()), list[Life](), list[tuple[float, str, dict[str, Any]]]()
        self.metadata.name = "first-2"
        self.metadata.run("first")

        async def live(settings: Settings, stop: Stop) -> int:
            exit = await self._lifecycle(settings, network, stop).live()
            lives.append(Life(exit, round(loop.time(), 3), logs[-1][2]["reason"], self.envoy.journal, list(logs)))
            return exit

        helpers = [asyncio.ensure_future(live(each, stop)) for each, stop in zip((first, second), stops, strict=True)]

        def happen(what: str) -> None:
            match what:
                case "first killed":
                    helpers[0].cancel()
                case "second killed":
                    helpers[1].cancel()
                    self.metadata.helper_status, self.metadata.helper_exit_code = "STOPPED", 137
                case "second has another name":
                    self.metadata.name = "another"
                case "second restarts" if self.metadata.containers["first"]["KnownStatus"] == "RUNNING":
                    helpers[1].cancel()
                    self.metadata.restart_count += 1
                    helpers[1] = asyncio.ensure_future(live(second, stops[1]))
                case "second restarts":
                    pass  # a container that is to stop is not started again
                case "SIGTERM":
                    self.metadata.desired = "STOPPED"
                    self._happen(what, stops[0])
                case _:
                    self._happen(what, stops[0])

        for moment, what in timeline:
            loop.call_at(moment, happen, what)
        with _recorded(logs):
            (exit_code,) = await asyncio.gather(helpers[0], return_exceptions=True)
            self.metadata.stop("first", exit_code if isinstance(exit_code, int) else 137)
            self.metadata.desired = "STOPPED"
            if self.metadata.helper_status == "RUNNING":
                await asyncio.sleep(GAP)
                stops[1].request("SIGTERM", loop.time())
                while not helpers[1].done():
                    await asyncio.wait(helpers[1:])
        return lives

    async def _look(self, listing_only: bool) -> Look:
        moment = asyncio.get_running_loop().time()
        latest = [look for since, look in self.looks if since <= moment]
        if not latest or latest[-1] is None:
            raise OSError("ThrottlingException")
        return latest[-1]

    def _happen(self, what: str, stop: Stop) -> None:
        who, _, mood = what.partition(" ")
        if who.startswith("SIG"):
            stop.request(who, asyncio.get_running_loop().time())
        elif what == "envoy restarts":
            self.envoy.restart()
        elif match := re.fullmatch(r"envoy (answers|fails) (\d*) ?requests?", what):
            number = int(match[2] or 10)
            self.envoy.completed += number
            self.envoy.failed += number if match[1] == "fails" else 0
        elif what == "envoy gets health checks":
            self.envoy.checks += 3
        elif what == "envoy dies":
            self.envoy.mood, self.envoy.accepts = "refuses", False
        elif what == "envoy's listener hangs":
            self.envoy.accepts = None
        elif what.startswith("envoy denies "):
            self.envoy.denied = set(mood.removeprefix("denies ").split(" and "))
        elif what == "envoy gets listeners":
            self.envoy.has_listeners = True
        elif what == "envoy gets a TCP connection through an updated listener":
            self.envoy.tcp_direction, self.envoy.connections = "INBOUND", 1
            self.envoy.modified += 1
        elif what == "envoy gets a TCP connection":
            self.envoy.connections = 1
        elif what == "envoy gets a TCP listener":
            self.envoy.connections = 0
        elif what == "envoy gets a listener that had a TCP connection":
            self.envoy.connections, self.envoy.past_connections = 0, 1
        elif what == "envoy answers a request through no known listener":
            self.envoy.strays += 1
        elif what == "envoy allows all":
            self.envoy.denied = set()
        elif what.startswith("helper freezes until "):
            virtual.freeze(float(mood.removeprefix("freezes until ")))
        elif what == "task stops":
            self.metadata.desired = "STOPPED"
        elif who == "container" and mood.endswith(" runs"):
            self.metadata.run(mood.removesuffix(" runs"))
        elif who == "container":
            self.metadata.stop(mood.removesuffix(" stops"))
        elif what == "envoy gets requests":
            self.envoy.in_flight = 3
        elif what in ("envoy deaf", "envoy hears"):
            self.envoy.deaf = mood == "deaf"
        elif what == "envoy ends requests":
            self.envoy.completed += self.envoy.in_flight
            self.envoy.in_flight = 0
        elif what.startswith("envoy statistics"):
            self.envoy.unknown = {"/stats"} if mood.endswith("fail") else set()
        elif what.startswith("envoy takes "):
            self.envoy.takes = float(mood.removeprefix("takes "))
        else:
            mood_: Mood = int(mood) if mood.isdigit() else mood
            {"envoy": self.envoy, "app": self.app, "metadata": self.metadata}[who].mood = mood_


class _recorded(logging.Handler):
    """Records what is logged inside the block, with the moment."""

    def __init__(self, lines: list[tuple[float, str, dict[str, Any]]]) -> None:
        super().__init__()
        self.lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        moment = round(asyncio.get_running_loop().time(), 3)
        self.lines.append((moment, record.msg, getattr(record, "fields", {})))

    def __enter__(self) -> None:
        logger = logging.getLogger("task_helper")
        self.level_before = logger.level
        logger.setLevel(logging.INFO)
        logger.addHandler(self)

    def __exit__(self, *_: object) -> None:
        logger = logging.getLogger("task_helper")
        logger.setLevel(self.level_before)
        logger.removeHandler(self)
