"""`task-helper plan`: the stop timeline that the settings give, as a person would draw it."""

from __future__ import annotations

from task_helper.settings import MARGIN, Settings


def draw(settings: Settings, width: int) -> str:
    """Draw the stages from SIGTERM to SIGKILL to scale, in lines of at most `width` columns (at least 60)."""
    auto_delay, auto_drain = settings.drain_delay == "auto", settings.drain_timeout == "auto"
    delay, drain = settings.longest_delay, settings.fixed_timeout
    stages = [("delaying", delay), ("draining", drain), ("spare", settings.budget - delay - drain), ("", MARGIN)]
    delaying = f"serves on for {delay:g}s, so that new tasks come into service"
    if auto_delay:
        delaying = f"serves on until new tasks are in service, for {delay:g}s at the most"
    draining = f"fails Envoy's health checks; for {drain:g}s downstreams go and requests end"
    if auto_drain:
        draining = (
            f"fails Envoy's health checks; for {settings.shortest_drain:g}s or more, until no request is in flight"
        )
    moments = [
        (0.0, "SIGTERM", "ECS stops the task, and this container first"),
        (0.0, "delaying", f"{delaying} (DRAIN_DELAY)"),
        (delay, "draining", f"{'at the latest ' if auto_delay else ''}{draining} (DRAIN_TIMEOUT)"),
        (delay + drain, "gone", "ECS stops the application and Envoy"),
        (settings.budget, "deadline", "gone at the latest, whatever Envoy does (STOP_TIMEOUT - 5s)"),
        (settings.stop_timeout, "SIGKILL", "what is still there, ECS kills (STOP_TIMEOUT)"),
    ]
    if auto_drain:
        del moments[3]
    lines = [f"{f'{moment:g}s':>6}  {name:9} {meaning}" for moment, name, meaning in moments]
    return "\n".join([_bar(stages, max(60, min(width, 100)) - 1), "", *lines])


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
