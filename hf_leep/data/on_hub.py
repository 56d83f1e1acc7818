"""Data sets on the Hub: their addresses, and CSV files, which are read as those on this machine are."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path, PurePath
from typing import Any

import datasets
import huggingface_hub
from huggingface_hub import constants
from huggingface_hub.errors import EntryNotFoundError
from huggingface_hub.file_download import repo_folder_name
from huggingface_hub.utils import tqdm

from hf_leep.data import delimited, folders, packed
from hf_leep.errors import TargetError, option

_ADDRESS = re.compile(
    r"(?:hf://|https?://[^/]+/)datasets/(?P<id>[^/@]+/[^/@]+|[^/@]+)(?:@(?P<at>[^/]+))?"
    r"(?:/(?:tree|viewer)/(?P<tree>[^/]+)[^.]*|/(?P<file>.+))?/?"
)
_CELLS = {"keep_default_na": False, "na_values": [""]}  # None, null and NA stay words


class _NoBar(tqdm):
    """No progress bar."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{**kwargs, "disable": True})  # type: ignore[no-untyped-call]


def find(name: str, revision: str | None) -> tuple[str, str | None]:
    """The id of a data set, and its revision, by its id or its address.

    Args:
        name: ``owner/name``, ``hf://datasets/owner/name`` or the address of its page.
        revision: the revision that the user names, if any.

    Raises:
        TargetError: it is the address of a file, or of something else than a data set.
    """
    found = _ADDRESS.fullmatch(name)
    if found is None:
        if "://" in name:
            raise TargetError(
                f"{name} is an address, not a data set: give the id of a data set on the Hub, or download the file "
                "and give its path"
            )
        return name, revision
    if found["file"]:
        file = re.sub(r"^(resolve|blob)/[^/]+/", "", found["file"])
        raise TargetError(
            f"{name} is one file: give the whole data set, {found['id']}, or download the file with "
            f"hf download {found['id']} {file} --repo-type dataset"
        )
    stated = found["at"] or (found["tree"] if "/tree/" in name else None)
    if revision is not None and stated not in (None, revision):
        raise TargetError(f"{name} names the revision {stated}, and {option('revision')} {revision}: give one of them")
    return found["id"], revision or stated


def load(
    name: str, config: str | None, revision: str | None, token: str | bool | None
) -> tuple[Mapping[Any, datasets.Dataset], list[str]]:
    """Load all splits of a data set; the arguments are those of ``datasets.load_dataset``.

    Returns:
        Its splits, and what a reader of the report must know about its files.

    Raises:
        TargetError: rows of a CSV file would be lost.
        Exception: what ``datasets`` raises.
    """
    if constants.HF_HUB_OFFLINE:
        folder = _in_cache(name, revision)
        if folder is not None:
            return folders.open_folder(folder, name, config)
    builder = datasets.load_dataset_builder(name, config, revision=revision, token=token)
    if not _is_plain_csv(builder):
        return datasets.load_dataset(name, config, revision=revision, token=token), []
    if not all(map(_is_table, _files(builder))):  # archives of several files
        cells = {"features": _cells_of(name, config, revision, token), **_CELLS}
        splits = datasets.load_dataset(name, config, revision=revision, token=token, **cells)
        return {split: delimited.typed(rows) for split, rows in splits.items()}, []
    folder = None
    for file in ["README.md", *_files(builder)]:
        with suppress(EntryNotFoundError):  # not every data set has a README.md
            path = huggingface_hub.hf_hub_download(
                name, file, repo_type="dataset", revision=revision, token=token, tqdm_class=_NoBar
            )
            folder = Path(path).parents[file.count("/")]
    if folder is None:
        raise AssertionError  # a builder of CSV files has some
    return folders.open_folder(folder, name, config)


def stream(
    name: str, config: str | None, revision: str | None, token: str | bool | None
) -> tuple[datasets.IterableDatasetDict, bool]:
    """Stream a data set; the arguments are those of ``datasets.load_dataset``.

    Returns:
        Its splits, and whether their columns hold the cells of CSV files as texts, whose types are not known yet.

    Raises:
        Exception: what ``datasets`` raises.
    """
    builder = datasets.load_dataset_builder(name, config, revision=revision, token=token)
    if not _is_plain_csv(builder):
        return datasets.load_dataset(name, config, revision=revision, token=token, streaming=True), False
    features = _cells_of(name, config, revision, token)
    cells = datasets.load_dataset(
        name, config, revision=revision, token=token, streaming=True, features=features, **_CELLS
    )
    return cells, True


def _cells_of(name: str, config: str | None, revision: str | None, token: str | bool | None) -> datasets.Features:
    """The columns of CSV files, by the first row of the first split, as columns of texts."""
    whole = datasets.load_dataset(name, config, revision=revision, token=token, streaming=True, **_CELLS)
    names = list(next(iter(next(iter(whole.values()))), {}))
    return datasets.Features(dict.fromkeys(names, datasets.Value("string")))


def _is_table(file: str) -> bool:
    """Whether a file is CSV or TSV, packed or not."""
    return packed.inner_suffix(PurePath(file)) in (".csv", ".tsv")


def _is_plain_csv(builder: datasets.DatasetBuilder) -> bool:
    """Whether a data set is of CSV files, for which its card sets no options but the separator."""
    if builder.name != "csv" or builder.info.features is not None:
        return False  # declared types decide what the cells are
    return folders.has_usual_options(builder.config)


def _files(builder: datasets.DatasetBuilder) -> list[str]:
    """The paths of a data set's files in its repository."""
    held = [str(file) for files in (builder.config.data_files or {}).values() for file in files]
    return [re.sub(r"^hf://datasets/[^@]+@[^/]+/", "", file) for file in held]


def _in_cache(name: str, revision: str | None) -> Path | None:
    """The folder of a data set of CSV files that was downloaded before, the latest; None if it was not."""
    repository = repo_folder_name(repo_id=name, repo_type="dataset")
    known = list(Path(constants.HF_HUB_CACHE, repository, "snapshots").glob(revision or "*"))
    if not known:
        return None
    folder = max(known, key=lambda path: path.stat().st_mtime)
    held = {packed.inner_suffix(file) for file in folder.rglob("*") if file.is_file()} - {".md"}
    return folder if held and held <= {".csv", ".tsv"} else None
