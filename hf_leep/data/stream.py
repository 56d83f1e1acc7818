"""A seeded sample of a stream: rows from parts spread over the whole data set, so that only these parts are read.

The rows are drawn as follows, so that files sorted by class give more than their first class:

1. The list of shards (mostly files) is divided into up to 32 equal parts, and one shard is drawn from each.
2. A parquet file is split into its row groups, which its footer lists; some of these are drawn in the same way, about
   64 in all. Other files are read from their start.
3. Each shard or row group gives an equal share of the rows, drawn at random from all of its rows, or, if it is long,
   from its first ones: eight times as many as are kept, and at least 1,000. If it has fewer rows than its share, the
   others give more.
4. If all of them together have too few rows, more shards are drawn, until there are enough rows or no more shards.

Rows that only name a file, as in an imagefolder, are cheap: all of them are read, and only the files of the chosen
rows are downloaded.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from itertools import pairwise
from math import ceil
from typing import Any, TypeAlias

import datasets
import numpy as np

from hf_leep.arrays import Integers
from hf_leep.errors import HubLimitError, TargetError, one_line
from hf_leep.text import counted

_SHARDS = 32
_PARTS = 64
_READ_FOR_ONE = 8
_LEAST_READ = 1000  # a row group is read as a whole, and has about as many
_ROWS_AT_ONCE = 256  # Arrow allows at most 2 GB in one chunk of a column
_DOWNLOADS = 8

_Row: TypeAlias = dict[str, Any]  # a row as it is stored, by column


@dataclass(frozen=True, eq=False)
class Sample:
    """Rows drawn from a stream.

    Attributes:
        dataset: the rows, in the order in which they were drawn; images are not decoded.
        whole: whether these are all rows of the stream.
        num_parts: number of parts that they are from.
        num_shards: number of shards of the stream.
    """

    dataset: datasets.Dataset
    whole: bool
    num_parts: int
    num_shards: int

    @property
    def caveat(self) -> str:
        """A warning for readers of the report."""
        rows, places = counted(len(self.dataset), "row"), counted(self.num_parts, "place")
        return (
            f"a streamed sample, not stratified: {rows} from {places} of a split of "
            f"{counted(self.num_shards, 'shard')}; neighbouring rows "
            "were drawn together, so classes may be out of proportion, and the sampling error larger than stated"
        )


def sample(stream: datasets.IterableDataset, size: int, seed: int, name: str, token: str | bool | None) -> Sample:
    """Draw up to ``size`` rows; the same seed gives the same rows in the same order.

    Args:
        stream: the split.
        size: rows to draw.
        seed: seed of the sample.
        name: name of the data set, for messages.
        token: access token for the files that rows name.

    Raises:
        TargetError: the stream cannot be read.
        HubLimitError: the Hub allows no more requests.
    """
    try:
        return _sample(stream.with_format(None), size, seed, token)
    except HubLimitError:
        raise
    except Exception as error:  # its readers raise exceptions of any kind
        raise TargetError(f"{name} cannot be streamed ({one_line(error.__cause__ or error)})") from None


def fair_shares(size: int, limits: Sequence[int]) -> Integers:
    """Split ``size`` as evenly as the limits allow; if the limits add up to less, each share is its limit.

    Args:
        size: the number to split.
        limits: the largest size of each share.
    """
    most = np.asarray(limits, dtype=np.int64)
    shares = np.zeros_like(most)
    while (left := size - int(shares.sum())) > 0 and (open_ := np.flatnonzero(shares < most)).size:
        more = np.minimum(most[open_] - shares[open_], max(left // open_.size, 1))[:left]
        shares[open_[: more.size]] += more
    return shares


def _sample(stream: datasets.IterableDataset, size: int, seed: int, token: str | bool | None) -> Sample:
    features = stream.features
    if features is not None:
        stream = stream.decode(False)
    bundle, limits = 1, None
    while True:
        rng = np.random.default_rng(seed)  # a new one each time, so that the rows depend only on the last time
        parts, complete = _parts(stream, bundle, rng)
        limits = limits or [size] * len(parts)
        # A few more than needed, since some parts may have fewer rows than their share.
        drawn = [
            _draw(part, int(n + n // 4 + 8), rng) for part, n in zip(parts, fair_shares(size, limits), strict=True)
        ]
        have = sum(len(rows) for rows, _, _ in drawn)
        limits = [seen if ended else size for _, seen, ended in drawn]
        if sum(limits) < size and not complete:
            bundle *= max(2, ceil(1.25 * size / max(sum(limits), 1)))
            limits = None
        elif have >= min(size, sum(limits)):
            break
    kept = fair_shares(size, [len(rows) for rows, _, _ in drawn])
    rows = [row for (part, _, _), n in zip(drawn, kept, strict=True) for row in part[:n]]
    _download_files(rows, token)
    whole = complete and len(rows) == sum(seen for _, seen, _ in drawn) and all(ended for *_, ended in drawn)
    return Sample(_dataset(rows, stream, features), whole, int(np.count_nonzero(kept)), stream.num_shards)


def _parts(
    stream: datasets.IterableDataset, bundle: int, rng: np.random.Generator
) -> tuple[list[datasets.IterableDataset], bool]:
    """Parts to read, and whether together they are the whole stream."""
    shards, complete = _spread(stream, _SHARDS, bundle, rng)
    parts = []
    for shard in shards:
        groups = shard.reshard()  # parquet by row groups; nothing else is split
        if groups.num_shards > shard.num_shards:
            some, all_of_it = _spread(groups, ceil(_PARTS / len(shards)), bundle, rng)
            parts += some
            complete = complete and all_of_it
        else:
            parts.append(shard)
    return parts, complete


def _spread(
    stream: datasets.IterableDataset, most: int, bundle: int, rng: np.random.Generator
) -> tuple[list[datasets.IterableDataset], bool]:
    """Up to ``most`` streams, each of every k-th shard, spread over the list; whether they are the whole stream."""
    if stream.num_shards == 0:
        return [], True
    count = max(stream.num_shards // bundle, 1)
    ends = [k * count // min(most, count) for k in range(min(most, count) + 1)]
    chosen = [int(rng.integers(first, end)) for first, end in pairwise(ends)]
    return [stream.shard(count, index, contiguous=False) for index in chosen], len(chosen) == count


def _draw(part: Iterable[_Row], keep: int, rng: np.random.Generator) -> tuple[list[_Row], int, bool]:
    """Up to ``keep`` of a part's rows in random order, how many rows were read, and whether these were all."""
    rows: list[_Row] = []
    seen = read = 0
    for row in part:
        seen += 1
        if len(rows) < keep:
            rows.append(row)
        elif (place := int(rng.integers(seen))) < keep:  # reservoir: each row seen is as likely as any other
            rows[place] = row
        read += not any(map(_names_a_file, row.values()))
        if read == max(_READ_FOR_ONE * keep, _LEAST_READ):
            break
    else:
        return [rows[k] for k in rng.permutation(len(rows))], seen, True
    return [rows[k] for k in rng.permutation(len(rows))], seen, False


def _names_a_file(value: object) -> bool:
    if not isinstance(value, Mapping) or set(value) != {"bytes", "path"}:
        return False
    return value["bytes"] is None and bool(value["path"])


def _download_files(rows: Sequence[_Row], token: str | bool | None) -> None:
    """Replace the names of files in the rows by their content."""
    from datasets.download.streaming_download_manager import xopen

    config = datasets.DownloadConfig(token=token)

    def download(cell: tuple[_Row, str]) -> None:
        row, column = cell
        with xopen(row[column]["path"], "rb", download_config=config) as stream:
            row[column] = {"bytes": stream.read(), "path": None}

    cells = [(row, column) for row in rows for column, value in row.items() if _names_a_file(value)]
    with ThreadPoolExecutor(_DOWNLOADS) as pool:
        # In a copy of this thread's context, which limits how long the Hub may be silent.
        for done in [pool.submit(copy_context().run, download, cell) for cell in cells]:
            done.result()


def _dataset(
    rows: Sequence[_Row], stream: datasets.IterableDataset, features: datasets.Features | None
) -> datasets.Dataset:
    if features is None or not rows:
        return datasets.Dataset.from_list(list(rows), split=stream.split)
    stored = datasets.Features(
        {
            # As a feature of its own, even a sound that is not decoded could only be written with torchcodec.
            name: {"bytes": datasets.Value("binary"), "path": datasets.Value("string")}
            if isinstance(feature, datasets.Audio)
            else feature
            for name, feature in stream.features.items()
        }
    )
    pieces = [
        datasets.Dataset.from_list(list(rows[start : start + _ROWS_AT_ONCE]), features=stored, split=stream.split)
        for start in range(0, len(rows), _ROWS_AT_ONCE)
    ]
    found = datasets.concatenate_datasets(pieces)
    for column, feature in features.items():
        if found.features[column] != feature:
            found = found.cast_column(column, feature)
    return found
