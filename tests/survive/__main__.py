"""``make survive``: hf-leep among killed processes, strangers' checkpoints, damaged data and reports, and full disks.

Prints a table of what was tried, what survived and what was lost, and ends with exit code 1 if anything was lost. All
moments and all damage come from one seed. ``python -m tests.survive --only WORD`` runs the parts that WORD is in the
name of.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from unittest import mock

import numpy as np
from rich.console import Console
from rich.table import Table

from tests import hub_server
from tests.survive import checkpoints, crowds, reports, strangers
from tests.survive.ground import CANARY, Ground, Row, images, pictures, sentences, texts, warm_python
from tests.survive.kills import Killing

_SEED = 17
_CONSOLE = Console(stderr=True, highlight=False)


def main() -> int:
    """Run all parts; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="run only the parts whose name has this in it")
    parser.add_argument("--seed", type=int, default=_SEED)
    parser.add_argument("--keep", action="store_true", help="keep the folder of all runs")
    parser.add_argument("--plan", type=int, default=2000, help="candidates of the plan under rate limits")
    parser.add_argument("--many", type=int, default=300, help="candidates of the large run")
    asked = parser.parse_args()
    began, root = time.monotonic(), Path(tempfile.mkdtemp(prefix="hf-leep-survive-"))
    rows = []
    try:
        with _prepared(root) as (ground, hub):
            for name, part in _parts(ground, hub, asked):
                if asked.only in name:
                    row = Row(name)
                    start = time.monotonic()
                    _try(row, part)
                    rows.append(row)
                    _CONSOLE.print(
                        f"{name}: {row.tried - len(row.lost):,} of {row.tried:,} in {time.monotonic() - start:.0f} s"
                    )
    finally:
        if not asked.keep:
            shutil.rmtree(root, ignore_errors=True)
    _show(rows, time.monotonic() - began, asked.seed)
    return 1 if not rows or any(row.lost or not row.tried for row in rows) else 0


def _try(row: Row, part: Callable[[Row], object]) -> None:
    """Run a part; one that breaks is lost, and the others go on."""
    try:
        part(row)
    except Exception as error:
        row.check("the part itself", f"{type(error).__name__}: {error}")


@contextlib.contextmanager
def _prepared(root: Path) -> Iterator[tuple[Ground, hub_server.Hub]]:
    with (
        mock.patch.object(hub_server, "WRITE_TOKEN", CANARY),  # the Hub takes it for a login
        warm_python(root) as python,
        hub_server.Hub() as hub,
    ):
        hub.limits = crowds.Quotas({}, 0)  # none
        hub.server.handle_error = lambda *_: None  # of connections of processes that were killed
        yield Ground(root, python), hub


def _parts(
    ground: Ground, hub: hub_server.Hub, asked: argparse.Namespace
) -> Iterator[tuple[str, Callable[[Row], object]]]:
    """The parts, by name."""
    root, rng = ground.root, np.random.default_rng(asked.seed)
    data, good = pictures(root / "pictures.parquet"), images(root, asked.many)
    killing: list[Killing] = []

    def killed(what: str, num: int, row: Row) -> None:
        if not killing:
            killing.append(Killing(ground, data, good[:4], rng))
        getattr(killing[0], what)(row, num, *([hub] if what == "pushing" else []))

    def fuzzed(row: Row) -> None:
        report, home = root / "fuzz-good", "good-home"
        fault = ground.rank(data, good[:3], report, home=home).fault(0)
        row.check("a good report", fault or ground.run("validate", report, home=home).fault(0, 3))
        reports.fuzz(row, Ground(root, ground.python, hub.url, 8000), report, 400, rng)

    def written(row: Row) -> None:
        crowds.token_in(row, [root])

    sizes = [4096, 8192, 16_384, 40_960, 65_536, 131_072, 262_144, 524_288]
    beside = partial(strangers.beside_good_ones, ground=ground)
    yield "killed: the main process", partial(killed, "main_processes", 20)
    yield "killed: the worker", partial(killed, "workers", 16)
    yield "killed: saving a report", partial(killed, "writing", 7)
    yield "killed: pushing", partial(killed, "pushing", 7)
    yield "hostile checkpoints", partial(beside, data=data, good=good[:8], spoils=checkpoints.REFUSED, refused=True)
    yield "odd checkpoints", partial(beside, data=data, good=good[:8], spoils=checkpoints.HARMLESS, refused=False)
    yield (
        "hostile tokenizers",
        lambda row: beside(
            row, data=sentences(root / "texts.csv"), good=texts(root, 8), spoils=checkpoints.TEXTS, refused=True
        ),
    )
    yield "damaged data", lambda row: strangers.as_data(row, ground, data, good[:1], list(strangers.DATA))
    yield "damaged reports", fuzzed
    yield "runs at once", lambda row: crowds.at_once(row, ground, data, good[:8], 3)
    yield "full disks", lambda row: crowds.full_disks(row, ground, data, good[:3], sizes)
    yield "read-only disks", lambda row: crowds.read_only_disks(row, ground, data, good[:3])
    yield "many candidates", lambda row: crowds.many(row, ground, data, good)
    yield (
        "a plan under rate limits",
        lambda row: crowds.plan_under_limits(row, ground, data, good[0], asked.plan, max(20, asked.plan // 5), 8.0),
    )
    yield "files without the token", written


def _show(rows: list[Row], seconds: float, seed: int) -> None:
    table = Table(title=f"make survive, seed {seed}, {seconds / 60:.0f} min")
    for name, justify in (("", "left"), ("tried", "right"), ("survived", "right"), ("lost", "right"), ("", "left")):
        table.add_column(name, justify=justify)
    for row in rows:
        table.add_row(row.what, f"{row.tried:,}", f"{row.tried - len(row.lost):,}", f"{len(row.lost):,}", row.note)
    tried, lost = sum(row.tried for row in rows), sum(len(row.lost) for row in rows)
    table.add_section()
    table.add_row("all", f"{tried:,}", f"{tried - lost:,}", f"{lost:,}", "")
    Console().print(table)
    for row in rows:
        for fault in row.lost[:20]:
            Console(highlight=False).print(f"lost, {row.what}: {fault}", markup=False)


if __name__ == "__main__":
    sys.exit(main())
