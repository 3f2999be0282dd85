"""`task-helper plan`: the stop timeline that the settings give, as a person would draw it."""

from __future__ import annotations

from task_helper.settings import MARGIN, Settings


def draw(settings: Settings, width: int) -> str:
    """Draw the stages from SIGTERM to SIGKILL to scale, in lines of at most `width` columns (at least 60).

    Of two helpers in a chain it is the plan of both.
    """
    auto_delay, auto_drain = settings.drain_delay == "auto", settings.drain_timeout == "auto"
    delay, drain = settings.longest_delay, settings.fixed_timeout
    end = settings.whole_budget
    stages = [("delaying", delay), ("draining", drain), ("spare", end - delay - drain), ("", MARGIN)]
    delaying = f"serves on for {delay:g}s, so that new tasks come into service"
    if auto_delay:
        delaying = f"serves on until new tasks are in service, for {delay:g}s at the most"
    draining = f"fails Envoy's health checks; for {drain:g}s downstreams go and requests end"
    if auto_drain:
        draining = (
            f"fails Envoy's health checks; for {settings.shortest_drain:g}s or more, until no request is in flight"
        )
    helpers = _chain(settings)
    moments = [
        (0.0, "SIGTERM", f"ECS stops the task, and {helpers[0][0] if helpers else 'this container'} first"),
        (0.0, "delaying", f"{delaying} (DRAIN_DELAY)"),
        (delay, "draining", f"{'at the latest ' if auto_delay else ''}{draining} (DRAIN_TIMEOUT)"),
        (delay + drain, "gone", "ECS stops the application and Envoy"),
        (end, "deadline", "gone at the latest, whatever Envoy does (STOP_TIMEOUT - 5s)"),
        (end + MARGIN, "SIGKILL", "what is still there, ECS kills (STOP_TIMEOUT)"),
    ]
    if auto_drain:
        del moments[3]
    bars = [stages]
    if helpers:
        bars.append(helpers)
        (first, handover), (second, _) = helpers
        if auto_drain or delay + drain > handover:
            moments.append((handover, "handover", f"{first} has gone, and {second} goes on (STOP_TIMEOUT - 5s)"))
    moments.sort(key=lambda each: each[0])
    lines = [f"{f'{moment:g}s':>6}  {name:9} {meaning}" for moment, name, meaning in moments]
    return "\n".join([*(_bar(each, max(60, min(width, 100)) - 1) for each in bars), "", *lines])


def _chain(settings: Settings) -> list[tuple[str, float]]:
    """The two helpers of a chain, and for how long each may hold the task; none where there is only this one."""
    this = "this container"
    if second := settings.hands_over_to:
        return [(this, settings.budget), (second.name, second.stop_timeout)]
    if first := settings.takes_over_from:
        return [(first.name, first.budget), (this, settings.stop_timeout)]
    return []


def _bar(stages: list[tuple[str, float]], columns: int) -> str:
    """The stages' names between marks that are as far apart as the stages are long."""
    scale = columns / sum(length for _, length in stages)
    bar, end = "├", 0.0
    for name, length in stages:
        end += length
        room = round(end * scale) - len(bar)
        if room >= 0:
            label = f" {name} {length:g}s "
            bar += (label if name and len(label) <= room else "").center(room, "─") + "┼"
    return f"{bar[:-1]}┤"
