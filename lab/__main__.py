import asyncio, sys
from pathlib import Path
from lab import history, verdict
from lab.scenario import BY_NAME, DEMO
from lab.stage import Stage

name, column, folder = sys.argv[1:4]
Path(folder).mkdir(parents=True, exist_ok=True)


async def main():
    await Stage((BY_NAME | {"demo": DEMO})[name], column, Path(folder), print).play()


asyncio.run(main())
h = history.read(Path(folder) / "record.jsonl")
v = verdict.judge(h)
print(v.kind, v.why, verdict.figures(h))
for r in v.failed[:5]:
    print(r)
