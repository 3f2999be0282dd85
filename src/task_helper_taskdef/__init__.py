"""Task definitions: what is wrong with the wiring of a helper (check), putting one in (add), how the task stops (plan).

`files` finds the files that are meant, `formats` reads them, `definition` and `shape` make typed values of that,
`task` tells which container is what, each of the `rules` finds one kind of fault, `ignoring` and `config` sift what
they found, `reports` shows it, `editing` mends the files, `timeline` says when each container stops, `add` writes the
helper's container, `admin` knows where each mesh has Envoy's admin API, `api` what ECS takes, `commands` is the command
line. Nothing here is imported by `task-helper run` or `task-helper healthcheck`.
"""
