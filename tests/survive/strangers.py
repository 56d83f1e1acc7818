"""Hostile checkpoints beside good ones, and data sets that are damaged or hostile."""

from __future__ import annotations

import contextlib
import gzip
import os
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import psutil

from tests.survive.checkpoints import Spoil
from tests.survive.ground import LIMIT, Ground, Row, Running, ranking, ranks, read

_MOST_REPORT_BYTES = 4 * 2**20  # of a report.json of a hundred candidates
_MOST_BYTES = 4 * 2**30  # of memory in one process: more was claimed, and not checked


def beside_good_ones(
    row: Row, ground: Ground, data: Path, good: Sequence[Path], spoils: Mapping[str, Spoil], *, refused: bool
) -> None:
    """Rank good checkpoints with hostile ones among them, and compare with a run without these.

    Args:
        row: takes the outcome of each hostile one.
        ground: where runs are started.
        data: the rows.
        good: the good checkpoints; hostile ones are made of the first.
        spoils: what makes a hostile one.
        refused: whether each of them must become a row with a reason.
    """
    name = f"among-{len(list(ground.root.glob('among-*')))}"
    alone, among, folder = ground.root / f"{name}-alone", ground.root / f"{name}-out", ground.root / name
    folder.mkdir()
    hostile = []
    for kind, spoil in spoils.items():
        hostile.append(Path(shutil.copytree(good[0], folder / kind)))
        spoil(hostile[-1])
    order = np.random.default_rng(12).permutation(len(good) + len(hostile))
    listed = [[*good, *hostile][k] for k in order]
    faults = [ground.rank(data, good, alone, home=f"{name}-home-alone").fault(0)]
    running = ground.start(*ranking(data, listed, among), "--candidate-timeout", "60s", home=f"{name}-home")
    with _memory_of(running) as most:
        done = running.wait(4 * LIMIT)
    faults += [done.fault(3, *(() if refused else (0,))), running.orphans()]
    if most[0] > _MOST_BYTES:
        faults.append(f"a process took {most[0] / 2**30:.1f} GB")
    if (folder / "payload-ran").exists() or list(folder.glob("*/payload-ran")):
        faults.append("code of a stranger was run")
    if any(faults):
        row.check(f"all of {', '.join(spoils)}", *faults)
        return
    if (size := (among / "report.json").stat().st_size) > _MOST_REPORT_BYTES:
        row.check("the report", f"it has {size:,} bytes")
    rows = {candidate["id"]: candidate for candidate in read(among)["candidates"]}
    if refused and ranks(among, good) != ranks(alone):
        row.check("the good ones", "they are ranked otherwise than without the hostile ones")
    elif not refused:
        scores = [{c["id"]: c["scores"] for c in ranks(output, good)} for output in (alone, among)]
        row.check("the good ones", scores[0] != scores[1] and "they have other scores")
    for path in hostile:
        candidate = rows.get(str(path))
        ranked = candidate is not None and candidate["rank"] is not None
        row.check(
            path.name,
            candidate is None and "it is not in the report",
            refused and ranked and "it was ranked",
            candidate is not None and not ranked and not candidate["reason"] and "it has no reason",
        )


@contextlib.contextmanager
def _memory_of(running: Running) -> Iterator[list[int]]:
    """The most memory of any of a run's processes so far."""
    most, ended = [0], threading.Event()

    def watch() -> None:
        while not ended.wait(0.3):
            for process in running.others():
                with contextlib.suppress(psutil.Error):
                    most[0] = max(most[0], process.memory_info().rss)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield most
    finally:
        ended.set()
        thread.join()


Make = Callable[[Path, Path], object]
"""Makes a damaged file: takes its path, and that of a good parquet file of pictures."""


def _text(content: bytes, path: Path, _good: Path) -> None:
    path.write_bytes(content)


def _part(keep: float, path: Path, good: Path) -> None:
    content = good.read_bytes()
    path.write_bytes(content[: int(keep * len(content))])


def _flipped(seed: int, path: Path, good: Path) -> None:
    content = bytearray(good.read_bytes())
    for position in np.random.default_rng(seed).integers(0, len(content), 20):
        content[position] ^= 255
    path.write_bytes(content)


def _table(columns: Mapping[str, object], path: Path, _good: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table(dict(columns)), path)


def _cells(cell: bytes | None, path: Path, good: Path) -> None:
    """The pictures, with one of them replaced."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.read_table(good)
    rows = table.to_pylist()
    rows[7]["image"] = {"bytes": cell, "path": None}
    pq.write_table(pa.Table.from_pylist(rows, table.schema), path)


def _picture_of(width: int, height: int) -> bytes:
    """A PNG file that claims a size, and holds no pixels."""
    import struct
    import zlib

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def _link(to: str, path: Path, _good: Path) -> None:
    path.symlink_to(to)


def _pipe(path: Path, _good: Path) -> None:
    os.mkfifo(path)


def _folder(file: str, make: Make, path: Path, good: Path) -> None:
    path.mkdir()
    (path / file).parent.mkdir(parents=True, exist_ok=True)
    make(path / file, good)


DATA: Mapping[str, Make] = {
    "empty.parquet": partial(_text, b""),
    "cut.parquet": partial(_part, 0.7),
    "head.parquet": partial(_part, 0.01),
    **{f"flipped-{seed}.parquet": partial(_flipped, seed) for seed in range(4)},
    "text.parquet": partial(_text, b"PAR1 text PAR1"),
    "no-rows.parquet": partial(_table, {"image": [], "label": []}),
    "one-class.parquet": partial(_table, {"text": ["a"] * 9, "label": [1] * 9}),
    "no-label.parquet": partial(_table, {"text": ["a", "b"]}),
    "null-labels.parquet": partial(_table, {"text": ["a", "b"], "label": [None, None]}),
    "negative-labels.parquet": partial(_table, {"text": ["a", "b"] * 4, "label": [-1, 1] * 4}),
    "many-labels.parquet": partial(_table, {"text": ["a"] * 5000, "label": [str(k) for k in range(5000)]}),
    "float-labels.parquet": partial(_table, {"text": ["a", "b"] * 4, "label": [float("nan"), 1e300] * 4}),
    "no-picture.parquet": partial(_cells, None),
    "text-as-picture.parquet": partial(_cells, b"<script>"),
    "huge-picture.parquet": partial(_cells, _picture_of(2**31 - 1, 2**31 - 1)),
    "large-picture.parquet": partial(_cells, _picture_of(30_000, 30_000)),
    "zeros.csv": partial(_text, b"text,label\n" + b"\0" * 10_000),
    "head.csv": partial(_text, b"text,label\n"),
    "bytes.csv": partial(_text, b"text,label\n\xff\xfe,a\n\x80,b\n"),
    "quote.csv": partial(_text, b'text,label\n"a,b\n' * 3),
    "wide.csv": partial(_text, b",".join([b"a"] * 20_000) + b"\n"),
    "long.csv": partial(_text, b"text,label\n" + b"a" * 20_000_000 + b",x\nb,y\n"),
    "deep.json": partial(_text, b"[" * 100_000),
    "broken.jsonl": partial(_text, b'{"text": "a", "label": 0}\n{"text"\n{"text": "b", "label": 1}\n'),
    "mixed.jsonl": partial(_text, b'{"text": "a", "label": 0}\n{"text": {"x": 1}, "label": [1]}\n'),
    "bomb.csv.gz": partial(_text, gzip.compress(b"text,label\n" + b"a" * 50_000_000 + b",x\nb,y\n")),
    "damaged.csv.gz": partial(_text, gzip.compress(b"text,label\na,b\n")[:-9]),
    "pipe.csv": _pipe,
    "device.csv": partial(_link, "/dev/zero"),
    "loop.csv": partial(_link, "loop.csv"),
    "nowhere.csv": partial(_link, "nowhere"),
    "nothing": partial(_folder, "notes.txt", partial(_text, b"")),
    "code": partial(_folder, "code.py", partial(_text, b"import os; os.mkdir('payload-ran')")),
    "pipe-in-folder": partial(_folder, "train/a/x.png", _pipe),
    "saved-to-disk": partial(_folder, "dataset_info.json", partial(_text, b"[]")),
}
"""What is given as a data set."""


def as_data(row: Row, ground: Ground, good: Path, models: Sequence[Path], names: Sequence[str]) -> None:
    """Rank on damaged data: a ranking, or one line and exit 2.

    Args:
        row: takes the outcomes.
        ground: where runs are started.
        good: a good parquet file of pictures.
        models: image classifiers.
        names: which of `DATA`.
    """
    folder = ground.root / "data"
    folder.mkdir(exist_ok=True)
    for name in names:
        path = folder / name
        DATA[name](path, good)
        running = ground.start(*ranking(path, models, None), home="data-home")
        with _memory_of(running) as most:
            done = running.wait()
        lines = [line for line in done.err.splitlines() if line.startswith("hf-leep: ")]
        row.check(
            name,
            done.fault(0, 1, 2, 3),
            running.orphans(),
            done.code == 2 and not 1 <= len(lines) <= 2 and f"{len(lines)} lines: {done.err[-300:]}",
            most[0] > _MOST_BYTES and f"a process took {most[0] / 2**30:.1f} GB",
            list(running.place.iterdir()) and "code of a stranger was run",
        )
