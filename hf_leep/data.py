"""A split → Target and rows: find the data set, its columns and labels, and take a seeded stratified sample."""

from __future__ import annotations

import glob
import hashlib
import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from logging import CRITICAL
from pathlib import Path
from typing import Any

import datasets
import numpy as np

from hf_leep.arrays import Integers
from hf_leep.errors import TargetError, one_line
from hf_leep.records import Target

_BUILDERS = {
    ".parquet": "parquet",
    ".csv": "csv",
    ".tsv": "csv",
    ".json": "json",
    ".jsonl": "json",
    ".arrow": "arrow",
}
# Names that win where several columns fit; two names are a pair.
_INPUT_NAMES: dict[str, tuple[tuple[str, ...], ...]] = {
    "image": (("image",), ("images",), ("img",)),
    "text": (
        ("text",),
        ("sentence1", "sentence2"),
        ("premise", "hypothesis"),
        ("question1", "question2"),
        ("text1", "text2"),
        ("question", "sentence"),
        ("sentence",),
    ),
}
_MOST_INPUTS = {"image": 1, "text": 2}
_LABEL_NAMES = ("label", "labels")
_ROWS_AT_ONCE = 256


@dataclass(frozen=True, eq=False)
class Rows:
    """The chosen rows, read and decoded on demand; an example that cannot be decoded is named by its row.

    Attributes:
        dataset: the split, with the input columns only.
        row_ids: the chosen positions in it, ``[n]``.
    """

    dataset: datasets.Dataset
    row_ids: Integers

    def __len__(self) -> int:
        """Number of chosen rows n."""
        return len(self.row_ids)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Decode one row."""
        row_id = int(self.row_ids[index])
        try:
            return dict(self.dataset[row_id])
        except (OSError, ValueError, SyntaxError) as error:  # what Pillow raises on a broken file
            raise TargetError(f"row {row_id} of the split cannot be decoded: {one_line(error)}") from None


def load(
    dataset: Any,
    *,
    config: str | None = None,
    split: str | None = None,
    revision: str | None = None,
    label: str | None = None,
    inputs: str | Sequence[str] | None = None,
    max_samples: int | None = None,
    seed: int = 0,
    progress: bool = True,
) -> tuple[Target, Rows]:
    """Choose the labelled examples that candidates are ranked on.

    Args:
        dataset: a ``datasets.Dataset`` or ``DatasetDict``; a Hub id; a folder or file (parquet, CSV, JSON, arrow,
            imagefolder, audiofolder); or a ``save_to_disk`` folder.
        config: configuration, where the data set has several.
        split: split, slices such as ``train[:20%]`` included; may be left out if there is only one.
        revision: revision of a Hub data set.
        label: label column; by default one named ``label`` or ``labels``, then the only ClassLabel.
        inputs: input column, or two text columns; by default those of a usual name, then the only one of its type.
        max_samples: size of a stratified sample; all rows by default.
        seed: seed of the sample.
        progress: let ``datasets`` show its bars while it prepares the data set.

    Raises:
        TargetError: the data set, split, columns or labels cannot be used; the message says what to choose instead.
    """
    if max_samples is not None and (not isinstance(max_samples, int) or max_samples < 2):
        raise TargetError(f"max_samples is {max_samples}; a score needs a whole number of at least 2 examples")
    with _bars(progress):
        found, name, sha, splits = _open(dataset, config, split, revision)
    found = found.with_format(None)  # a format or transform of the caller's would change what is read
    if len(found) == 0:
        raise TargetError(f"{name}, split {split or found.split}: there are no rows")
    modality, input_columns = _inputs(found, inputs, label)
    label_column = _label(found, label, input_columns)
    codes, class_names = _encode(found, label_column)

    row_ids = np.arange(len(found))
    warnings = []
    if max_samples is not None and max_samples < len(found):
        row_ids = stratified_sample(codes, max_samples, np.random.default_rng(seed))
        if max_samples < len(class_names):
            warnings.append(f"{max_samples} samples cannot hold all {len(class_names)} classes: some are left out")
    kept, labels = np.unique(codes[row_ids], return_inverse=True)
    class_names = [class_names[code] for code in kept]
    if len(kept) < 2:
        raise TargetError(
            f"all {len(row_ids)} labels in column {label_column!r} are {class_names[0]!r}; "
            "a score needs at least two classes"
        )
    digests = _digests(found, input_columns, row_ids)
    duplicates, conflicting = _count_duplicates(digests, labels)
    warnings += _warnings(splits, labels, duplicates, conflicting)
    inputs_read = b"".join(digests)
    content = inputs_read + labels.astype("<i8").tobytes() + "\0".join(class_names).encode()
    target = Target(
        dataset=name,
        config=config,
        split=split or (str(found.split) if found.split else None),
        revision=sha,
        fingerprint=f"sha256:{hashlib.sha256(content).hexdigest()}",
        input_fingerprint=f"sha256:{hashlib.sha256(inputs_read).hexdigest()}",
        input_columns=input_columns,
        label_column=label_column,
        modality=modality,
        row_ids=row_ids,
        labels=labels,
        class_names=tuple(class_names),
        num_rows=len(found),
        seed=seed,
        num_duplicates=duplicates,
        warnings=tuple(warnings),
    )
    return target, Rows(found.select_columns(list(input_columns)), row_ids)


def stratified_sample(codes: Integers, size: int, rng: np.random.Generator) -> Integers:
    """Draw ``size`` rows without replacement, in proportion to the classes; ascending positions, ``[size]``.

    Quotas are rounded by largest remainder; every class keeps an example as long as ``size`` allows.

    Args:
        codes: class of each row, ``[n]``, 0 … t−1, all occurring.
        size: rows to draw, at most n.
        rng: where the randomness comes from.
    """
    counts = np.bincount(codes)
    exact = size * counts / len(codes)
    quota = np.floor(exact).astype(np.int64)
    if size >= len(counts):
        quota = np.maximum(quota, 1)
    while quota.sum() < size:  # largest remainders first; ties go to the lower class
        short = np.argsort(quota - exact, kind="stable")[: size - quota.sum()]
        quota[short] += 1
    while quota.sum() > size:  # the guaranteed examples are paid for by the classes with most to spare
        quota[np.argmax(quota - exact + (quota > 1) * len(codes))] -= 1
    drawn = [rng.permutation(np.flatnonzero(codes == c))[: quota[c]] for c in range(len(counts))]
    return np.sort(np.concatenate(drawn))


@contextmanager
def _bars(show: bool) -> Iterator[None]:
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


def _open(
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


def _inputs(
    found: datasets.Dataset, inputs: str | Sequence[str] | None, label: str | None
) -> tuple[str, tuple[str, ...]]:
    """Find the modality and the input columns."""
    columns = {m: [c for c in _columns_of(found, m) if c != label] for m in _INPUT_NAMES}
    fitting = [name for names in columns.values() for name in names]
    if inputs is not None:
        chosen = tuple(inputs.split(",")) if isinstance(inputs, str) else tuple(inputs)
        for column in chosen:
            if column not in found.features:
                raise TargetError(f"no column {column!r}: --input can be {_listed(fitting)}")
        for modality, names in columns.items():
            if set(chosen) <= set(names) and len(chosen) <= _MOST_INPUTS[modality]:
                return modality, chosen
        held = ", ".join(f"{column} ({_type(found, column)})" for column in chosen)
        raise TargetError(
            f"--input {held}: that is neither an image nor one or two texts; it can be {_listed(fitting)}"
        )
    for modality, names in columns.items():  # images first: beside them, texts are mostly file names and captions
        usual = [usual for usual in _INPUT_NAMES[modality] if set(usual) <= set(names)]
        if usual or len(names) == 1:
            return modality, (usual or [tuple(names)])[0]
        if names:
            raise TargetError(f"which {modality} column is the input? --input can be {_listed(names)}")
    raise TargetError(f"no image or text column; the columns are {_columns(found)}")


def _columns_of(found: datasets.Dataset, modality: str) -> list[str]:
    """Columns that can be an input of that modality; a text named as the label is none."""
    if modality == "image":
        return [name for name, feature in found.features.items() if isinstance(feature, datasets.Image)]
    return [
        name
        for name, feature in found.features.items()
        if isinstance(feature, datasets.Value)
        and feature.dtype in ("string", "large_string")
        and name not in _LABEL_NAMES
    ]


def _label(found: datasets.Dataset, label: str | None, input_columns: tuple[str, ...]) -> str:
    possible: list[str] = [
        name for name in found.features if name not in input_columns and _can_be_label(found.features[name])
    ]
    if label is not None:
        if label not in found.features:
            raise TargetError(f"no column {label!r}: --label can be {_listed(possible)}")
        if label not in possible:
            raise TargetError(
                f"column {label!r} holds {_type(found, label)}, no classes: --label can be {_listed(possible)}"
            )
        return label
    named = [name for name in _LABEL_NAMES if name in possible]
    if len(named) == 1:
        return named[0]
    classes = [name for name in possible if isinstance(found.features[name], datasets.ClassLabel)]
    if len(classes) == 1 and not named:
        return classes[0]
    if not possible:
        raise TargetError(f"no column can be the label (classes, integers, booleans or strings): {_columns(found)}")
    raise TargetError(f"which column is the label? --label can be {_listed(possible)}")


def _can_be_label(feature: Any) -> bool:
    if isinstance(feature, datasets.ClassLabel):
        return True
    kinds = ("int", "uint", "bool", "string", "large_string")
    return isinstance(feature, datasets.Value) and feature.dtype.rstrip("0123456789") in kinds


def _encode(found: datasets.Dataset, column: str) -> tuple[Integers, list[str]]:
    """Encode the label column densely: ``[rows]`` codes and the names of the classes that occur."""
    values = found.select_columns([column]).with_format("arrow")[:].column(0)
    if values.null_count:
        raise TargetError(
            f"{values.null_count} of {len(found)} rows have no label in column {column!r}: drop them first"
        )
    array = values.to_numpy()
    if array.dtype.kind == "i" and (array < 0).any():
        negative, times = Counter(array[array < 0].tolist()).most_common(1)[0]
        raise TargetError(
            f"{times} of {len(found)} labels in column {column!r} are {negative} (unlabelled): drop these rows first"
        )
    classes, codes = np.unique(array.astype(str) if array.dtype.kind == "O" else array, return_inverse=True)
    feature = found.features[column]
    names = feature.names if isinstance(feature, datasets.ClassLabel) else None
    return codes, [names[int(value)] if names else str(value) for value in classes]


def _digests(found: datasets.Dataset, columns: Sequence[str], row_ids: Integers) -> list[bytes]:
    """A 16-byte hash of each chosen row's input as stored, undecoded."""
    raw = found.select_columns(list(columns))
    for column in columns:
        if isinstance(found.features[column], datasets.Image):
            raw = raw.cast_column(column, datasets.Image(decode=False))
    digests = []
    for start in range(0, len(row_ids), _ROWS_AT_ONCE):
        batch = raw[row_ids[start : start + _ROWS_AT_ONCE].tolist()]
        for offset, values in enumerate(zip(*(batch[column] for column in columns), strict=True)):
            digest = hashlib.blake2b(digest_size=16)
            for column, value in zip(columns, values, strict=True):
                if value is None:
                    row = row_ids[start + offset]
                    raise TargetError(f"row {row} has nothing in column {column!r}: drop such rows first")
                content = _stored_bytes(value)
                digest.update(len(content).to_bytes(8, "little") + content)  # so that no two pairs run together
            digests.append(digest.digest())
    return digests


def _stored_bytes(value: Any) -> bytes:
    if isinstance(value, Mapping):  # an undecoded image: its bytes, or the path of its file
        if value["bytes"] is not None:
            return bytes(value["bytes"])
        if not value["path"]:
            raise TargetError("an image has neither content nor a path: drop such rows first")
        try:
            return Path(value["path"]).read_bytes()
        except OSError as error:
            raise TargetError(f"cannot read {value['path']}: {error.strerror}") from None
    return str(value).encode()


def _count_duplicates(digests: Sequence[bytes], labels: Integers) -> tuple[int, int]:
    """Rows that repeat an earlier row's input, and how many of them with another label."""
    first: dict[bytes, int] = {}
    repeats = conflicts = 0
    for digest, label in zip(digests, labels.tolist(), strict=True):
        if digest in first:
            repeats += 1
            conflicts += first[digest] != label
        else:
            first[digest] = label
    return repeats, conflicts


def _warnings(splits: Sequence[str], labels: Integers, duplicates: int, conflicting: int) -> list[str]:
    found = []
    if any(re.match(r"test(\b|_|\d)", split) for split in splits):
        found.append(
            "these are test rows: choosing a model on them spoils the test set, so measure the chosen model elsewhere"
        )
    if duplicates:
        found.append(
            f"{duplicates} of {len(labels)} rows repeat an earlier row exactly ({conflicting} of them with another "
            "label): leave-one-out scores see their copies"
        )
    return found


def _type(found: datasets.Dataset, column: str) -> str:
    feature: Any = found.features[column]
    name: str = feature.dtype if isinstance(feature, datasets.Value) else type(feature).__name__
    return name


def _columns(found: datasets.Dataset) -> str:
    return ", ".join(f"{name} ({_type(found, name)})" for name in found.features)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) if names else "none: no column fits"
