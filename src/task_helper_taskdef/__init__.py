'''The linter of task definitions. Its core is functions that print nothing, write nothing and never exit.

- `formats.load(name, content)`: the task definitions in the content of a file, each a `Source`
- `check.check(source, options)`: the findings of all rules about one definition
- `fix.fix(sources, options)`: the text of a file with everything repaired that needs no decision
- `add.add(source, image, ...)`: the definition with a helper's container, and the new text of its file
- `plan.plan(source, ...)`: the stop of the whole task, drawn as text

For example:

    >>> from task_helper_taskdef.check import check
    >>> from task_helper_taskdef.formats import load
    >>> text = """{"containerDefinitions": [
    ...   {"name": "envoy", "image": "envoyproxy/envoy:v1.36.2"}]}"""
    >>> for source in load("task.json", text):
    ...     for finding in check(source).findings:
    ...         print(finding.severity, finding.rule, *source.position(finding.place))
    error helper-missing 1 2

`load` raises `NotATaskDefinition` (in `formats.tree`), and so does everything that takes a `Source`. The other errors
are `BadName` (in `roles`), `NotEditable` (in `formats.editing`), `BadSetting` (in `add`) and `BadStopTimeout` (in
`add.stop_timeouts`).

Around the core, `cli` is the command line, `commands` does what each command does, and `console` prints. `files` finds
and reads files, `selection` chooses among their definitions, `config` reads the configuration, `baseline` leaves out
known findings, `reports` shows the others, and `writer` writes a file. This module and `cli` import nothing heavy.
`task-helper run` and `task-helper healthcheck` import nothing of this package.
'''
