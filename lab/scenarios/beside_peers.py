"""The helper beside other programs that drain an Envoy: the shutdown managers of Contour and of Envoy Gateway.

A column of theirs is played where a variable names the program (lab/run/peers.py).
"""

from collections.abc import Mapping
from dataclasses import replace

from lab.parts.load import Stream
from lab.scenarios.scenario import ANY, FAILS, FIFTH, NONE_FAILED, Column, Expectation, Scenario

_BESIDE: Mapping[Column, Expectation] = {
    "none": FAILS,
    "trap": ANY,
    "auto": NONE_FAILED,
    "contour": ANY,
    "gateway": ANY,
}
_BUSY = (Stream("persistent", 70), Stream("new connections", 30, new_connections=True))
_TIMES = replace(FIFTH, cloud_map=2, push=1, stop_timeout=44)

_LONG = (*_BUSY, Stream("long", 4, seconds=12))


def _both(name: str, title: str, scenario: Scenario) -> tuple[Scenario, ...]:
    """With the defaults of each program, and with the delay that each has an option for."""
    return (
        replace(scenario, name=f"peers-{name}", title=f"{title}, with each program's defaults"),
        replace(scenario, name=f"peers-{name}-delay", title=f"{title}, with a delay of 40 s", peers_delay=True),
    )


_UPDATE = Scenario("", "", _BESIDE, streams=_BUSY, times=_TIMES)

ROWS: tuple[Scenario, ...] = (
    *_both("update", "rolling update, replacement tasks known 15 s later", _UPDATE),
    *_both("long-requests", "… requests of 60 s", replace(_UPDATE, streams=_LONG)),
    *_both("late", "… replacement tasks known 35 s later", replace(_UPDATE, times=replace(_TIMES, cloud_map=6))),
)
