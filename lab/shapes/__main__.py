"""Random shapes of Envoy and of its traffic, the same for helper and shell trap: does the helper exit too early?

    python -m lab.shapes --seed 1 --count 100        a campaign
    python -m lab.shapes --seed 1 --only 17          one shape of it, with all that happened; its files are kept

Each shape is a real Envoy with one to four listeners and the clients of each. The property: the helper loses nothing
that the trap would have kept, and never exits while something that counts is in progress, but at its deadline. Where
the helper lost something, the same shape is played with the trap in its place. Exits with 1 where it is broken.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from lab.shapes.additions import random_shape
from lab.shapes.judgement import Judgement, exited_early, idle_to_deadline, judge, lost
from lab.shapes.outcome import OK, Outcome
from lab.shapes.shape import HTTP, VERSIONS, Chain, ListenerShape, Shape
from lab.shapes.shared_parts import SharedParts
from lab.shapes.trial import Trial

# Trials mostly wait; so many a core keep it busy, and no client late.
SIDE_BY_SIDE = 8

# a shape that could not be judged, as the machine was too busy, is played again so often
TRIES = 3

# where there is no terminal for a bar, a line after so many shapes
LINE_EVERY = 50


class Played(NamedTuple):
    """A shape, its trials and what they come to; the trap's is None where it was not needed or broke off."""

    shape: Shape
    helper: Outcome | None
    trap: Outcome | None
    judgement: Judgement


async def play(shared: SharedParts, shape: Shape, folder: Path, always_trap: bool = False) -> Played:
    """The trials of a shape, played again where they could not be judged."""
    for _ in range(TRIES):
        played = await _play_once(shared, shape, folder, always_trap)
        if played.judgement.kind != "unknown":
            break
    return played


async def _play_once(shared: SharedParts, shape: Shape, folder: Path, always_trap: bool) -> Played:
    helper: Outcome | None = None
    trap: Outcome | None = None
    try:
        helper = await Trial(shared, shape, "helper", folder).play()
        if always_trap or lost(shape, helper):
            trap = await Trial(shared, shape, "trap", folder).play()
    except (OSError, TimeoutError, RuntimeError) as error:
        return Played(shape, helper, trap, Judgement("unknown", (repr(error),)))
    return Played(shape, helper, trap, judge(shape, helper, trap))


async def campaign(shapes: list[Shape], jobs: int, console: Console, folder: Path, keeps_files: bool) -> list[Played]:
    """Play all of them, with a bar that shows how far they are."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    http3 = any(chain.protocol == "http3" for shape in shapes for each in shape.listeners for chain in each.all_chains)
    shared, room = SharedParts(folder, http3=http3, keeps_files=keeps_files), asyncio.Semaphore(jobs)
    played: list[Played] = []
    async with shared.running():
        with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as progress:
            bar = progress.add_task("shapes", total=len(shapes))

            async def one(shape: Shape) -> None:
                async with room:
                    result = await play(shared, shape, folder, always_trap=keeps_files)
                played.append(result)
                progress.advance(bar)
                if result.judgement.kind != "kept":
                    show(result, progress.console)
                if not console.is_terminal and len(played) % LINE_EVERY == 0:
                    console.print(f"{len(played)} of {len(shapes)} shapes", highlight=False)

            async with asyncio.TaskGroup() as group:
                for shape in shapes:
                    group.create_task(one(shape))
    return sorted(played, key=lambda each: each.shape.number)


async def _campaign(shapes: list[Shape], jobs: int, console: Console, folder: Path, keeps_files: bool) -> list[Played]:
    """SIGTERM ends it as Ctrl-C does."""
    playing = asyncio.ensure_future(campaign(shapes, jobs, console, folder, keeps_files))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, playing.cancel)
    return await playing


def show(played: Played, console: Console, everything: bool = False) -> None:
    """What a shape came to, and how it is played again."""
    shape, judgement = played.shape, played.judgement

    def say(text: str) -> None:
        console.print(text, soft_wrap=True, highlight=False, markup=False)

    again = f"python -m lab.shapes --seed {shape.seed} --only {shape.number}"
    say(f"{judgement.kind}: shape {shape.number}; {again}")
    for why in judgement.why:
        say(f"  {why}")
    say(f"  {words_of(shape)}")
    for outcome in (played.helper, played.trap):
        if outcome is None:
            continue
        ended = "killed" if outcome.exit is None else f"exit at {outcome.exit:.1f} s with {outcome.code}"
        failed = sum(use.outcome != OK for use in outcome.uses)
        early = len(lost(shape, outcome))
        say(f"  {outcome.holder}: {ended}; {failed} of {len(outcome.uses)} failed, {early} of them too early")
        if everything:
            for use in outcome.uses:
                say(f"    {use.client}: {use.begins:6.2f} to {use.ended:6.2f} s, needs {use.needs:6.2f}: {use.outcome}")
            for line in outcome.log:
                say(f"    {line}")


def words_of(shape: Shape) -> str:
    """A shape in a few words: whatever is not as usual."""
    plain = dict(zip(Shape._fields, shape, strict=True))
    usual = {"lds": False, "outbound": 0, "stats_left_out": "", "stats_kept": "", "allow_paths": (), "resets": False}
    usual |= {"unix_admin": False, "hot_restart": False, "changes": False, "auto_delay": False, "metadata": True}
    usual |= {"update_at": None}
    more = [f"{name} {plain[name]}" for name, value in usual.items() if plain[name] != value]
    if shape.outbound:
        more.append(f"egress_prefix {shape.egress_prefix}")
    drain = f"auto ({shape.interval:g} s)" if shape.auto_timeout else f"{shape.timeout:g} s"
    head = (
        f"Envoy {shape.version}, {shape.threads} threads, delay {shape.delay:g} s, drain {drain},"
        f" trap until {shape.trap_ends:.1f} s, deadline {shape.budget:.1f} s, application {shape.app_health}"
    )
    return "\n  ".join([", ".join([head, *more]), *map(_listener_words, shape.listeners)])


def _listener_words(listener: ListenerShape) -> str:
    names = f", stat_prefix {listener.stat_prefix!r}" if listener.stat_prefix else ""
    default = ", default chain" if listener.default_chain else ""
    proxied = ", awaits a PROXY header" if listener.proxied else ""
    update = f", {listener.update} by LDS" if listener.update != "nothing" else ""
    head = (
        f"- {listener.name!r} {listener.direction}, {listener.place}, {listener.way}{names}{default}{proxied}{update}: "
    )
    return head + "; ".join(map(_chain_words, listener.all_chains))


def _chain_words(chain: Chain) -> str:
    words = [chain.protocol, repr(chain.stat_prefix)]
    if chain.protocol in HTTP:
        words += [f"health_check {chain.health_check}"]
        words += [f"manager {chain.manager}"] * (chain.manager != "usual")
    for each in chain.traffic:
        every = f" every {each.every:g} s" if not each.in_one else ""
        words.append(f"{each.kind} {each.begins:g} to {each.ends:g} s{every}")
    return ", ".join(words)


def report(played: list[Played], seconds: float, console: Console) -> int:
    """The whole campaign in a few lines; the exit code."""
    kinds = Counter(each.judgement.kind for each in played)
    outcomes = [each.helper for each in played if each.helper]
    uses = sum(len(each.uses) for each in outcomes)
    traps = sum(each.trap is not None for each in played)
    idle = [each.shape.number for each in played if each.helper and idle_to_deadline(each.shape, each.helper)]
    auto = sum(each.shape.auto_timeout for each in played)
    early = sum(exited_early(each.shape, each.helper) for each in played if each.helper)
    console.print(
        f"{len(played)} shapes in {seconds:.0f} s: {kinds['kept']} kept, {kinds['broken']} broken, "
        f"{kinds['unknown']} could not be judged; {uses:,} requests and connections, the trap played {traps} times;"
        f" of {auto} with auto {early} exited before the deadline, and {len(idle)} stayed to it without traffic",
        soft_wrap=True,
        highlight=False,
    )
    if idle:
        console.print(f"without traffic: {', '.join(map(str, idle))}", soft_wrap=True, highlight=False)
    return 1 if kinds["broken"] or kinds["unknown"] else 0


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m lab.shapes", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    jobs = SIDE_BY_SIDE * (os.cpu_count() or 1)
    parser.add_argument("--seed", type=int, default=1, help="which shapes are drawn; default: 1")
    parser.add_argument("--count", type=int, default=100, help="how many shapes; default: 100")
    parser.add_argument("--first", type=int, default=0, metavar="K", help="number of the first of them; default: 0")
    parser.add_argument("--only", type=int, metavar="K", help="play shape K alone, print everything, keep its files")
    parser.add_argument("--jobs", type=int, default=jobs, help=f"shapes side by side; default: {jobs}")
    options = parser.parse_args()
    alone = options.only is not None
    numbers = [options.only] if alone else range(options.first, options.first + options.count)
    console, began = Console(), time.monotonic()
    if missing := [each for each in ("curl", "openssl") if shutil.which(each) is None]:
        console.print(f"not installed: {', '.join(missing)}; the shell trap needs curl, TLS a certificate of openssl")
        return 2
    if missing := [each for each in VERSIONS if SharedParts.binary(each) == SharedParts.binary("")][:-1]:
        console.print(f"not installed, so that another version is played: Envoy {', '.join(missing)}")
    folder = Path(tempfile.mkdtemp(prefix="shapes-"))
    shapes = [random_shape(options.seed, number) for number in numbers]
    try:
        played = asyncio.run(_campaign(shapes, options.jobs, console, folder, keeps_files=alone))
    except (KeyboardInterrupt, asyncio.CancelledError):
        console.print("interrupted: every process of the campaign has been ended")
        return 130
    finally:
        if not alone:
            shutil.rmtree(folder, ignore_errors=True)
    if alone:
        show(played[0], console, everything=True)
        console.print(f"files: {folder}", soft_wrap=True)
    return report(played, time.monotonic() - began, console)


if __name__ == "__main__":
    sys.exit(main())
