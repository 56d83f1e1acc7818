"""Find a data set and take one split of it."""

from __future__ import annotations

import glob
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from logging import CRITICAL
from pathlib import Path
from typing import Any

import datasets

from hf_leep.errors import TargetError, one_line

_BUILDERS = {
    ".parquet": "parquet",
    ".csv": "csv",
    ".tsv": "csv",
    ".json": "json",
    ".jsonl": "json",
    ".arrow": "arrow",
}


@contextmanager
def bars(show: bool) -> Iterator[None]:
    """Hold back the bars of ``datasets``, unless somebody can see them, and its log lines, which our error says."""
    hide = not (show and sys.stderr.isatty()) and not datasets.are_progress_bars_disabled()
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


def open_split(
    dataset: Any, config: str | None, split: str | None, revision: str | None
) -> tuple[datasets.Dataset, str, str | None, list[str]]:
    """Find the rows: how to call their data set, its commit if it is on the Hub, and which splits they are of."""
    if isinstance(dataset, datasets.IterableDataset | datasets.IterableDatasetDict):
        raise TargetError("a streaming data set cannot be sampled: load it with streaming=False")
    if isinstance(dataset, datasets.Dataset):
        own = str(dataset.split) if dataset.split else None
        if split is None:
            return dataset, "a Dataset object", None, [own] if own else []
        found, used = _take({own or split.split("[")[0]: dataset}, split, "the Dataset object")
        return found, "a Dataset object", None, used
    if isinstance(dataset, datasets.DatasetDict):
        found, used = _take(dataset, split, "the DatasetDict object")
        return found, "a DatasetDict object", None, used
    if not isinstance(dataset, str | Path):
        raise TargetError(
            f"the data set is a {type(dataset).__name__}: make a Dataset of it, as Dataset.from_pandas does"
        )

    name = str(dataset)
    path = Path(name).expanduser()
    if not name.strip():
        raise TargetError("the data set has no name: give a Hub id, a file or a folder")
    if path.exists() and revision is not None:
        raise TargetError(f"{name} is on this machine: --revision is for data sets on the Hub")
    try:
        if path.is_dir() and ((path / "dataset_dict.json").exists() or (path / "state.json").exists()):
            stored = datasets.load_from_disk(str(path))
            splits = stored if isinstance(stored, datasets.DatasetDict) else {str(stored.split or "train"): stored}
            sha = None
        elif path.is_file():
            suffix = path.suffix.lower()
            if suffix not in _BUILDERS:
                raise TargetError(f"{name}: cannot read {path.suffix!r} files; give one of {', '.join(_BUILDERS)}")
            extra = {"sep": "\t"} if suffix == ".tsv" else {}
            splits = datasets.load_dataset(_BUILDERS[suffix], data_files=glob.escape(str(path)), **extra)
            sha = None
        elif path.is_dir():
            splits, sha = datasets.load_dataset(glob.escape(str(path.resolve())), config), None
        elif name.startswith((".", "/", "~")) or name.count("/") > 1:
            raise TargetError(f"{name}: no such file or folder")
        else:
            splits, sha = _from_hub(name, config, revision)
    except TargetError:
        raise
    except Exception as error:  # datasets raises whatever its readers raise; all of it means: this cannot be read
        raise TargetError(f"{name}: {one_line(error.__cause__ or error)}") from None
    found, used = _take(splits, split, name)
    return found, name, sha, used


def _from_hub(name: str, config: str | None, revision: str | None) -> tuple[datasets.DatasetDict, str | None]:
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import HTTPError, RepositoryNotFoundError, RevisionNotFoundError

    from hf_leep import __version__

    sha = revision
    if not constants.HF_HUB_OFFLINE:
        try:
            api = HfApi(library_name="hf_leep", library_version=__version__)
            sha = str(api.dataset_info(name, revision=revision, timeout=30.0).sha)
        except RevisionNotFoundError:
            raise TargetError(f"{name}: the data set has no revision {revision!r}") from None
        except RepositoryNotFoundError:
            raise TargetError(f"{name}: no such file or folder, and no such data set on the Hub") from None
        except (HTTPError, OSError, ValueError) as error:
            raise TargetError(f"{name}: no such file or folder, and no answer of the Hub: {one_line(error)}") from None
    return datasets.load_dataset(name, config, revision=sha), sha


def _take(splits: Mapping[str, datasets.Dataset], split: str | None, name: str) -> tuple[datasets.Dataset, list[str]]:
    """One split of several, slices and sums such as ``train[:20%]+validation`` included, and which splits it is of."""
    if split is None:
        if len(splits) != 1:
            raise TargetError(f"{name} has the splits {', '.join(map(str, splits))}: choose one with --split")
        ((only, rows),) = splits.items()
        return rows, [str(only)]
    try:
        instruction = datasets.ReadInstruction.from_spec(split)
        absolute = instruction.to_absolute({str(key): len(value) for key, value in splits.items()})
    except (ValueError, AssertionError) as error:
        if "Unknown split" in str(error):
            raise TargetError(f"{name} has no split {split!r}; it has {', '.join(map(str, splits))}") from None
        raise TargetError(f"{name}: cannot read the split {split!r}: {one_line(error)}") from None
    parts = [
        splits[part.splitname].select(
            range(part.from_ or 0, len(splits[part.splitname]) if part.to is None else part.to)
        )
        for part in absolute
    ]
    found = parts[0] if len(parts) == 1 else datasets.concatenate_datasets(parts)
    return found, [part.splitname for part in absolute]
