"""With DRAIN_LISTENERS=graceful, Envoy's --drain-time-s fits the drain

With `DRAIN_LISTENERS=graceful`, Envoy 1.40 and later closes idle connections of downstreams that do no health checks.
Envoy closes them in the last third of its
[`--drain-time-s`](https://www.envoyproxy.io/docs/envoy/latest/operations/cli). The default is 600 s, and the task has
stopped long before. With 15 s or less Envoy closes none: the `drain_timeout` of its HTTP connection managers, 5 s, uses
up that third. The drain has to last one second longer than `--drain-time-s`. Measured with Envoy 1.40, `make
test-envoys`.

AWS's images (App Mesh) set it to LISTENER_DRAIN_WAIT_TIME_S, 20 s by default. kuma-dp sets it to
KUMA_DATAPLANE_DRAIN_TIME or `--drain-time`, consul-dataplane to DP_ENVOY_DRAIN_TIME, both 30 s by default
(hashicorp/consul-dataplane, pkg/consuldp).

Passes:

    {"containerDefinitions": [
      {"name": "task-helper", "environment": [{"name": "DRAIN_LISTENERS", "value": "graceful"}]},
      {"name": "envoy", "image": "envoyproxy/envoy:v1.40.0",
        "command": ["envoy", "-c", "/etc/envoy.yaml", "--drain-time-s", "30"]}]}

Fails:

    {"containerDefinitions": [
      {"name": "task-helper", "environment": [{"name": "DRAIN_LISTENERS", "value": "graceful"}]},
      {"name": "envoy", "image": "envoyproxy/envoy:v1.40.0"}]}

    warning $.containerDefinitions[1].command
      DRAIN_LISTENERS=graceful closes no idle connection: the --drain-time-s of envoy is 600 s, and the drain 40 s.
      Start envoy with --drain-time-s 30.

Fails:

    {"containerDefinitions": [
      {"name": "task-helper", "environment": [
        {"name": "DRAIN_LISTENERS", "value": "graceful"}, {"name": "DRAIN_TIMEOUT", "value": "25"}]},
      {"name": "sidecar", "image": "kumahq/kuma-dp:2.14.3"}]}

    warning $.containerDefinitions[1].environment
      DRAIN_LISTENERS=graceful closes no idle connection: the --drain-time-s of sidecar is 30 s, and the drain 25 s.
      Set KUMA_DATAPLANE_DRAIN_TIME to 20s at sidecar.

Fails:

    {"containerDefinitions": [
      {"name": "task-helper", "environment": [
        {"name": "DRAIN_LISTENERS", "value": "graceful"}, {"name": "DRAIN_TIMEOUT", "value": "10"}]},
      {"name": "envoy", "image": "envoyproxy/envoy:v1.40.0"}]}

    warning $.containerDefinitions[1].command
      DRAIN_LISTENERS=graceful closes no idle connection: the --drain-time-s of envoy is 600 s, and the drain 10 s.
      Raise DRAIN_TIMEOUT to 21 or more, and start envoy with --drain-time-s 20.

Fails:

    {"containerDefinitions": [
      {"name": "task-helper", "environment": [{"name": "DRAIN_LISTENERS", "value": "graceful"}]},
      {"name": "envoy", "image": "example.com/our-envoy:7"}]}

    note $.containerDefinitions[1].command
      The definition does not show how envoy starts Envoy. Without --drain-time-s, Envoy's drain time is 600 s.
      Start Envoy with --drain-time-s 30. By default DRAIN_LISTENERS=graceful closes no idle connection.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import PurePosixPath
from typing import Final, NamedTuple

from task_helper.plan import Plan
from task_helper.settings import Settings
from task_helper_taskdef.definition import Container
from task_helper_taskdef.envoy_admin import option_of
from task_helper_taskdef.findings import Edit, Finding, note, warning
from task_helper_taskdef.roles import Task, identifying_places, mesh_of, settings_of

OPTION: Final = "--drain-time-s"
CONSULS_OPTION: Final = "envoy-drain-time-seconds"
DEFAULT: Final = 600.0

# seconds to recommend, the longest that fits first: clients then have the most time to close connections themselves
GOOD: Final = (30, 20)


class DrainTime(NamedTuple):
    """Envoy's --drain-time-s in seconds, the variable that sets it, and the unit after the number there."""

    seconds: float
    variable: str = ""
    unit: str = ""


def check(task: Task) -> Iterator[Finding]:
    for settings in map(settings_of, task.helpers):
        if settings is None or settings.drain_listeners != "graceful":
            continue
        good = next((seconds for seconds in GOOD if settings.plan.sees_idle_closed(seconds)), None)
        for envoy in task.envoys:
            drain_time = drain_time_of(envoy)
            if drain_time is None:
                yield note(
                    f"{envoy.place}.command",
                    f"The definition does not show how {envoy.name} starts Envoy."
                    f" Without {OPTION}, Envoy's drain time is {DEFAULT:g} s.",
                    f"Start Envoy with {OPTION} {good or GOOD[-1]}."
                    " By default DRAIN_LISTENERS=graceful closes no idle connection.",
                    rests_on=identifying_places(envoy),
                )
            elif not settings.plan.sees_idle_closed(drain_time.seconds):
                yield _too_long_or_short(envoy, drain_time, settings, good)


def _too_long_or_short(envoy: Container, drain_time: DrainTime, settings: Settings, good: int | None) -> Finding:
    wanted, fix = good or GOOD[-1], list[Edit]()
    mend = f"start {envoy.name} with {OPTION} {wanted}"
    if drain_time.variable:
        mend = f"set {drain_time.variable} to {wanted}{drain_time.unit} at {envoy.name}"
        fix = [envoy.set_variable(drain_time.variable, f"{wanted}{drain_time.unit}")] if good else []
    return warning(
        envoy.variable_place(drain_time.variable) if drain_time.variable else f"{envoy.place}.command",
        f"DRAIN_LISTENERS=graceful closes no idle connection: the {OPTION} of {envoy.name} is"
        f" {drain_time.seconds:g} s, and the drain {settings.plan.longest_drain:g} s.",
        f"{mend[0].upper()}{mend[1:]}." if good else f"{_longer_drain(settings.plan, wanted + 1)}, and {mend}.",
        rests_on=identifying_places(envoy),
        fix=fix,
    )


def _longer_drain(plan: Plan, needed: float) -> str:
    """The advice that makes the drain last for so many seconds."""
    if plan.drain_timeout == "auto":
        return f"Raise STOP_TIMEOUT by {needed - plan.longest_drain:g} or more"
    return f"Raise DRAIN_TIMEOUT to {needed:g} or more"


def drain_time_of(envoy: Container) -> DrainTime | None:
    """Its drain time; None if the definition does not show it."""
    words = [part for word in envoy.command_line for part in word.split()]
    names = {PurePosixPath(word).name for word in words}
    if given := _option(words):
        return DrainTime(float(given)) if re.fullmatch(r"\d{1,6}", given, re.ASCII) else None
    for variable, pattern, unit, default, is_agents in (
        ("KUMA_DATAPLANE_DRAIN_TIME", r"(\d{1,6})s", "s", 30.0, mesh_of(envoy) == "kuma"),
        ("DP_ENVOY_DRAIN_TIME", r"(\d{1,6})", "", 30.0, "consul-dataplane" in names | {envoy.repository}),
        ("LISTENER_DRAIN_WAIT_TIME_S", r"(\d{1,6})", "", 20.0, "appmesh" in envoy.image),
    ):
        if variable not in envoy.env and unit and is_agents and (option := option_of(envoy, "drain-time")):
            match = re.fullmatch(pattern, option, re.ASCII)
            return DrainTime(float(match[1])) if match else None
        if is_agents or variable in envoy.env:
            match = re.fullmatch(pattern, envoy.env.get(variable, ""), re.ASCII)
            if envoy.knows_variable(variable) and (match or variable not in envoy.env):
                return DrainTime(float(match[1]) if match else default, variable, unit)
            return None
    # Envoy's own image starts Envoy with the given options
    by_itself = "envoyproxy/envoy" in envoy.image and (not words or words[0].startswith("-"))
    return DrainTime(DEFAULT) if by_itself or "envoy" in names else None


def _option(words: Sequence[str]) -> str | None:
    """The drain time of the command line of Envoy or consul-dataplane; the last one counts."""
    pairs = [*pairwise(words), *(word.partition("=")[::2] for word in words if "=" in word)]
    texts = [text for word, text in pairs if word == OPTION or word.lstrip("-") == CONSULS_OPTION]
    return texts[-1] if texts else None
