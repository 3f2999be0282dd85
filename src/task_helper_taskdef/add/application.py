"""Where the application answers, as far as its own health check shows it."""

from __future__ import annotations

import re
import shlex
from pathlib import PurePosixPath
from typing import Final

from task_helper_taskdef.definition import Container
from task_helper_taskdef.roles import Task, shares_network

_URL: Final = re.compile(r"http://(localhost|127\.0\.0\.1|\[::1\])(:\d{1,5})?(/[^\s?#]*)?")
# options that do not change the request or which answers fail; without -f, curl accepts every answer
_CURL: Final = re.compile(r"-[fsSL]+|--fail|--silent|--show-error|--location")
_WGET: Final = re.compile(
    r"-[qS]+|--quiet|--spider|-nv|--no-verbose|--tries=\d+|-O-?|-|/dev/null|--output-document=\S+"
)
_ENDS: Final = {"||", "&&"}


def application_url(task: Task) -> str | None:
    """The value for APP_HEALTH_URL: the address that the health check of the only application asks over HTTP.

    None where another request than a plain GET is made, where any answer passes, and where the helper cannot be sure to
    reach the same address.
    """
    urls = {url for url in map(_asked, task.applications) if url}
    return urls.pop() if shares_network(task) and len(task.applications) == 1 and urls else None


def _asked(application: Container) -> str | None:
    command = application.health_check.command if application.health_check else []
    places = [f"{application.place}.healthCheck.command[{i}]" for i in range(len(command))]
    if not command or any(place in application.unknown for place in places):
        return None
    try:
        words = shlex.split(" ".join(command[1:])) if command[0] == "CMD-SHELL" else command[1:]
    except ValueError:
        return None
    end = next((i for i, word in enumerate(words) if word in _ENDS), len(words))
    # what follows may only make another failure of a failure
    if words[end:] not in ([], ["||", "exit", "1"]):
        return None
    program, *options = words[:end] or [""]
    urls = [word for word in options if _URL.fullmatch(word)]
    others = [word for word in options if word not in urls]
    match PurePosixPath(program).name:
        case "curl":
            plain = all(map(_CURL.fullmatch, others)) and any(re.fullmatch("-[sSL]*f[sSL]*|--fail", o) for o in others)
        case "wget":
            plain = all(map(_WGET.fullmatch, others))
        case _:
            plain = False
    return urls[0] if plain and len(urls) == 1 else None
