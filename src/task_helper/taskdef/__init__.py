"""Task definitions: what is wrong with the wiring of a helper (check), putting one in (add), how the task stops (plan).

`definition` reads one, `task` tells which container is what, each of the `rules` finds one kind of fault, `timeline`
says when each container stops, `add` writes the helper's container, `report` shows findings, `commands` is the
command line. Nothing here is imported by `task-helper run` or `task-helper healthcheck`.
"""
