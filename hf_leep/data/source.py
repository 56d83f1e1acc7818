"""Find a data set and take one split of it."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from logging import CRITICAL
from pathlib import Path
from typing import Any, TypeAlias

import datasets
import pyarrow as pa
from huggingface_hub import constants
from huggingface_hub.utils import are_progress_bars_disabled

from hf_leep.data import delimited, folders, formats, json_integers, on_hub, packed
from hf_leep.data.hints import about_suffix
from hf_leep.errors import HubLimitError, TargetError, UserError, one_line, option
from hf_leep.options import verbose
from hf_leep.temporary import is_endless
from hf_leep.text import similar_path, with_article

_BUILDERS = {
    ".parquet": "parquet",
    ".csv": "csv",
    ".tsv": "csv",
    ".json": "json",
    ".jsonl": "json",
    ".arrow": "arrow",
}
# Errors of ``datasets`` for a CSV file with only a header, and for a parquet file without rows.
_NO_ROWS = ("corresponds to no data", "BatchSize must be greater than 0")


@contextmanager
def bars(show: bool) -> Iterator[None]:
    """Turn off the log lines of ``datasets``, and its progress bars unless they are shown on a terminal.

    Args:
        show: whether progress bars are wanted; HF_HUB_DISABLE_PROGRESS_BARS hides these, too.
    """
    if verbose():
        yield
        return
    wanted = show and sys.stderr.isatty() and not are_progress_bars_disabled()
    hide = not wanted and not datasets.are_progress_bars_disabled()
    verbosity = datasets.logging.get_verbosity()
    datasets.logging.set_verbosity(CRITICAL)
    if hide:
        datasets.disable_progress_bars()
    try:
        yield
    finally:
        datasets.logging.set_verbosity(verbosity)
        if hide:
            datasets.enable_progress_bars()


DatasetLike: TypeAlias = (
    str | Path | datasets.Dataset | datasets.DatasetDict | datasets.IterableDataset | datasets.IterableDatasetDict
)
Pin: TypeAlias = Callable[[str, str | None], str | None]  # data set on the Hub, revision → its commit
Split: TypeAlias = datasets.Dataset | datasets.IterableDataset


@dataclass(frozen=True, eq=False)
class Found:
    """A split that was found.

    Attributes:
        rows: its rows.
        name: name of the data set, for messages.
        revision: its commit, if it is on the Hub.
        splits: the splits that the rows are from.
        warnings: what a reader of the report must know about how it was read.
        whole: the whole splits, where the rows are a slice of them.
        folder: where names of files in the rows start: the folder of a data file on this machine, or the current
            folder; None for data that are on the Hub.
        cells: whether the rows are streamed from CSV files, whose cells are still texts.
    """

    rows: Split
    name: str
    revision: str | None
    splits: Sequence[str]
    warnings: Sequence[str] = ()
    whole: datasets.Dataset | None = None
    folder: Path | None = None
    cells: bool = False


def open_split(
    dataset: DatasetLike,
    config: str | None,
    split: str | None,
    revision: str | None,
    *,
    streaming: bool = False,
    pin: Pin | None = None,
    token: str | bool | None = None,
) -> Found:
    """Open one split of a data set; the arguments are those of `hf_leep.data.load`.

    Raises:
        TargetError: the data set or the split cannot be read.
    """
    kind = type(dataset).__name__
    name = f"{with_article(kind)} object"
    if streaming and isinstance(dataset, datasets.Dataset | datasets.DatasetDict):
        raise TargetError(f"{name} is on this machine: {option('streaming')} is for data sets on the Hub")
    if isinstance(dataset, datasets.IterableDataset | datasets.Dataset):
        own = str(dataset.split) if dataset.split else None
        if split is None:
            return Found(dataset, name, None, [own] if own else [], folder=Path.cwd())
        splits = {own or split.split("[")[0]: dataset}
    elif isinstance(dataset, datasets.IterableDatasetDict | datasets.DatasetDict):
        splits = dataset
    elif not isinstance(dataset, str | Path):
        make = {"dict": "from_dict", "list": "from_list", "DataFrame": "from_pandas"}.get(kind, "from_dict")
        raise TargetError(
            f"the data set is {name.removesuffix(' object')}: make a Dataset of it, as Dataset.{make} does"
        )
    else:
        return _open_name(str(dataset), config, split, revision, streaming, pin, token)
    found, used, whole = _take(splits, split, f"the {kind} object")
    return Found(found, name, None, used, whole=whole, folder=Path.cwd())


def _open_name(
    name: str,
    config: str | None,
    split: str | None,
    revision: str | None,
    streaming: bool,
    pin: Pin | None,
    token: str | bool | None,
) -> Found:
    warnings: Sequence[str] = ()
    cells = False
    path = Path(name).expanduser()
    if not name.strip():
        raise TargetError("the data set has no name: give a Hub id, a file or a folder")
    if path.exists() and revision is not None:
        raise TargetError(f"{name} is on this machine: {option('revision')} is for data sets on the Hub")
    if is_endless(path):
        raise TargetError(f"{name} is {formats.ENDLESS}: save the rows in a file, and name that")
    saved = (path / "dataset_dict.json").exists() or (path / "state.json").exists()
    if config is not None and (path.is_file() or saved):
        raise TargetError(f"{name} has no configurations: leave out {option('config')}")
    if path.exists() and streaming:
        raise TargetError(f"{name} is on this machine: {option('streaming')} is for data sets on the Hub")
    try:
        if path.is_dir() and saved:
            stored = _from_disk(path, name)
            splits = stored if isinstance(stored, datasets.DatasetDict) else {str(stored.split or "train"): stored}
            sha = None
        elif path.is_file():
            suffix = packed.inner_suffix(path)
            if suffix not in _BUILDERS:
                suffix = path.suffix.lower()
                what = f"a {path.suffix!r} file" if path.suffix else "a file without an extension"
                listed = ", ".join(_BUILDERS)
                raise TargetError(f"{name} is {what}, which is not read: give one of {listed}{about_suffix(suffix)}")
            if not path.stat().st_size:
                raise TargetError(f"{name}: the file is empty")
            file = packed.unpacked(path)
            formats.check(file)
            if suffix in (".csv", ".tsv"):
                splits = {"train": delimited.read(file, "\t" if suffix == ".tsv" else ",")}
            else:
                if suffix in (".json", ".jsonl"):
                    formats.check_utf8(file)
                    file = json_integers.as_texts(file)
                splits = datasets.load_dataset(_BUILDERS[suffix], data_files=folders.files_of(file))
            sha = None
        elif path.is_dir():
            (splits, warnings), sha = folders.open_folder(path, name, config), None
        elif "://" not in name and (name.startswith((".", "/", "~")) or name.count("/") > 1):
            raise TargetError(f"{name}: no such file or folder{similar_path(name)}")
        else:
            if streaming and constants.HF_HUB_OFFLINE:
                raise TargetError(
                    f"{option('streaming')} reads {name} from the Hub, and HF_HUB_OFFLINE is set: unset one of them"
                )
            name, revision = on_hub.find(name, revision)
            sha = (pin(name, revision) if pin else None) or revision
            if streaming:
                splits, cells = on_hub.stream(name, config, sha, token)
            else:
                splits, warnings = on_hub.load(name, config, sha, token)
    except (UserError, HubLimitError):
        raise
    except Exception as error:  # datasets raises whatever its readers raise: the data set cannot be read
        if "torchcodec" in str(error.__cause__ or error):  # datasets needs it to copy sounds into its cache
            raise TargetError(
                f"datasets can read a folder of sounds such as {name} only with torchcodec: "
                "pip install torchcodec, or list the files in a CSV with the columns file and label"
            ) from None
        if any(said in str(error.__cause__ or error) for said in _NO_ROWS):
            raise TargetError(f"{name}: there are no rows") from None
        cause = error.__cause__ or error
        if isinstance(cause, OSError) and _is_of_cache(cause.filename, path):
            raise TargetError(
                f"the cache of datasets, {datasets.config.HF_DATASETS_CACHE}, cannot be used "
                f"({os.strerror(cause.errno or 0)}): set HF_DATASETS_CACHE to a folder that can be written to"
            ) from None
        near = similar_path(name) if constants.HF_HUB_OFFLINE and not path.exists() else ""
        raise TargetError(f"{name} cannot be read ({one_line(cause)}){near}") from None
    found, used, whole = _take(splits, split, name)
    folder = None
    if path.exists():
        folder = Path.cwd() if saved else (path if path.is_dir() else path.parent).resolve()
    return Found(found, name, sha, used, warnings, whole, folder, cells)


def _is_of_cache(file: object, path: Path) -> bool:
    """Whether an error of a file is about the cache of ``datasets``, or a folder that it is in, not about the data."""
    if not isinstance(file, str) or Path(file) == path:
        return False
    cache = Path(datasets.config.HF_DATASETS_CACHE)
    return Path(file) in (cache, *cache.parents) or cache in Path(file).parents


def _from_disk(path: Path, name: str) -> datasets.Dataset | datasets.DatasetDict:
    """Load what ``save_to_disk`` wrote."""
    folders.check_readable(path.rglob("*"), path, name)
    for file in sorted(path.rglob("*.arrow")):
        formats.check(file)
    try:
        return datasets.load_from_disk(str(path))
    except IndexError:  # a data set without rows is saved without files, and datasets opens the first one
        raise TargetError(f"{name}: there are no rows") from None


def _take(
    splits: Mapping[Any, Split], split: str | None, name: str
) -> tuple[Split, list[str], datasets.Dataset | None]:
    """One split of several, or a slice or sum such as ``train[:20%]+validation``.

    Returns:
        The rows, the splits that they are from, and these whole splits where the rows are a part of them.
    """
    if split is None:
        if len(splits) != 1:
            raise TargetError(
                f"{name} has the splits {', '.join(map(str, splits))}: choose one with {option('split')}"
            )
        ((only, rows),) = splits.items()
        return rows, [str(only)], None
    if any(isinstance(rows, datasets.IterableDataset) for rows in splits.values()):
        if split in splits:
            return splits[split], [split], None
        if re.search(r"[\[+]", split):
            listed = ", ".join(map(str, splits))
            raise TargetError(
                f"a part or sum such as {split!r} of {name} cannot be streamed: choose a whole split of {listed}"
            )
        raise TargetError(f"{name} has no split {split!r}; it has {', '.join(map(str, splits))}")
    try:
        instruction = datasets.ReadInstruction.from_spec(split)
        absolute = instruction.to_absolute({str(key): len(value) for key, value in splits.items()})
    except (ValueError, AssertionError) as error:
        if "Unknown split" in str(error):
            raise TargetError(f"{name} has no split {split!r}; it has {', '.join(map(str, splits))}") from None
        raise TargetError(f"{name} has no part {split!r} that can be read ({one_line(error)})") from None
    parts = [
        splits[part.splitname].select(
            range(part.from_ or 0, len(splits[part.splitname]) if part.to is None else part.to)
        )
        for part in absolute
    ]
    try:
        found = parts[0] if len(parts) == 1 else datasets.concatenate_datasets(parts)
    except ValueError as error:
        raise TargetError(
            f"the splits of {split!r} in {name} do not hold the same columns ({one_line(error)}): choose one of them"
        ) from None
    used = [str(part.splitname) for part in absolute]
    of_all = [splits[key] for key in dict.fromkeys(used)]
    whole = datasets.concatenate_datasets(of_all) if len(found) < sum(map(len, of_all)) else None
    return found, used, whole


def on_disk(dataset: datasets.Dataset, folder: Path) -> datasets.Dataset:
    """The same rows in a file that other processes can map into their memory; themselves if they are in one already.

    Args:
        dataset: the rows.
        folder: where to write a file.
    """
    return dataset if dataset.cache_files else in_file(dataset, folder / "rows.arrow")


def in_file(dataset: datasets.Dataset, path: Path) -> datasets.Dataset:
    """The same rows in a file that is mapped into memory.

    Args:
        dataset: the rows.
        path: the file to write.
    """
    table = dataset.with_format("arrow")[:]
    with pa.OSFile(str(path), "wb") as stream, pa.ipc.new_stream(stream, table.schema) as writer:
        writer.write_table(table)
    return datasets.Dataset.from_file(str(path), info=datasets.DatasetInfo(features=dataset.features))
