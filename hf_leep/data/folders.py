"""Local folders: opened with ``datasets``, and held against the files that lie in them.

``datasets`` takes files for a split by the words in their names, skips those whose suffix it does not know, and drops
the labels of an imagefolder when a file lies outside the folders of the classes, all without a word.
"""

from __future__ import annotations

import glob
import hashlib
import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path

import datasets
from datasets.packaged_modules.folder_based_builder.folder_based_builder import FolderBasedBuilder

from hf_leep.data import delimited, formats, json_integers, packed
from hf_leep.data.formats import ENDLESS
from hf_leep.errors import TargetError, one_line
from hf_leep.temporary import is_endless
from hf_leep.text import counted, form

_PLAIN = re.compile(r"[^\[\]*?#{}!:%]*")  # paths that datasets does not take for patterns, addresses or archives
_ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".zst", ".7z")
_BESIDE = (  # suffixes of files that lie beside data and hold no rows
    "", ".md", ".txt", ".json", ".jsonl", ".csv", ".xml", ".yaml", ".yml", ".ini", ".db", ".html", ".py", ".ipynb",
    ".zip", ".gz", ".tar", ".parquet", ".pdf", ".log", ".cfg", ".toml", ".lock", ".tmp",
)  # fmt: skip


def _plain_path(path: Path) -> Path:
    """A path to a file that ``datasets`` does not take for a pattern, through a link in its cache if need be."""
    resolved = path.resolve()
    if _PLAIN.fullmatch(str(resolved)):
        return resolved
    links = Path(datasets.config.HF_DATASETS_CACHE) / "hf_leep_links"
    links.mkdir(parents=True, exist_ok=True)
    link = links / (hashlib.sha256(os.fsencode(resolved)).hexdigest()[:20] + re.sub(r"[^\w.]", "", path.suffix))
    if not link.is_symlink():
        link.symlink_to(resolved)
    return link


def open_folder(path: Path, name: str, config: str | None) -> tuple[datasets.DatasetDict, list[str]]:
    """Open a folder of data files, or of images, sounds or videos in one folder for each class.

    Args:
        path: the folder.
        name: its name, for messages.
        config: configuration, where it has several.

    Returns:
        Its splits, and what a reader of the report must know about its files.

    Raises:
        TargetError: files, classes or labels would be lost.
    """
    folder = path.resolve()
    if config is not None and config not in (known := datasets.get_dataset_config_names(str(folder))):
        raise TargetError(f"{name} has no configuration {config!r}; it has {', '.join(known)}")
    on_disk = _all_files(folder)
    if not on_disk:
        raise TargetError(f"{name} holds no files")
    check_readable(on_disk, folder, name)
    if _PLAIN.fullmatch(str(folder)):
        try:
            builder = datasets.load_dataset_builder(str(folder), config)
        except datasets.exceptions.DataFilesNotFoundError:
            raise TargetError(f"{name} holds no data files, but {_counted(on_disk)}") from None
    else:  # as a pattern, since datasets would take the name for one
        builder = datasets.load_dataset_builder(_loader_of(on_disk, name), data_dir=glob.escape(str(folder)))
    found = builder.config.data_files or {}
    files = {str(split): [Path(str(file)) for file in held] for split, held in found.items()}
    taken = {file for held in files.values() for file in held}
    local = all(file.is_absolute() for file in taken)
    warnings: list[str] = []
    if local and not _has_configurations(folder):
        _check_all_taken(builder, folder, on_disk, files, name)
    if local and isinstance(builder, FolderBasedBuilder):
        warnings = [*_check_suffixes(builder, folder, on_disk, name), *_empty(builder, folder, on_disk)]
    if local and builder.name in ("csv", "json", "parquet", "arrow"):
        for file in sorted(taken):
            formats.check(packed.unpacked(file))
    if local and builder.name == "csv" and has_usual_options(builder.config):
        separator = builder.config.sep
        return datasets.DatasetDict(
            {split: delimited.read_files(list(map(packed.unpacked, held)), separator) for split, held in files.items()}
        ), warnings
    if local and builder.name == "json":
        exact = {}
        for file in sorted(taken):
            plain = packed.unpacked(file)
            formats.check_utf8(plain)
            if (texts := json_integers.as_texts(plain)) != plain:
                exact[file] = texts
        if exact and has_usual_options(builder.config):
            patterns = {split: [files_of(exact.get(file, file)) for file in held] for split, held in files.items()}
            builder = datasets.load_dataset_builder("json", data_files=patterns)
    try:
        builder.download_and_prepare()
    except datasets.exceptions.DatasetGenerationError as error:
        if archives := [file.name for file in sorted(taken) if file.suffix.lower() in _ARCHIVES]:
            reason = one_line(error.__cause__ or error)
            raise TargetError(f"{archives[0]} in {name} cannot be read while it is packed ({reason})") from None
        raise
    splits = builder.as_dataset()
    if local and isinstance(builder, FolderBasedBuilder):
        first = next(iter(splits.values()))
        _check_labels(builder, folder, files, set(first.column_names), name)
        warnings += _nested(builder, folder, files)
        warnings += _not_in_metadata(builder, files, sum(map(len, splits.values())))
    return splits, warnings


def check_readable(files: Iterable[Path], folder: Path, name: str) -> None:
    """Check that reading each of some files comes to an end.

    Args:
        files: the files.
        folder: the folder that they are in.
        name: the folder as the user named it.

    Raises:
        TargetError: one is a pipe, a device or a link into /proc.
    """
    for file in files:
        if is_endless(file):
            raise TargetError(f"{_within(file, folder)} in {name} is {ENDLESS}: remove it")


def has_usual_options(config: datasets.BuilderConfig) -> bool:
    """Whether a card sets no options for CSV files but the separator.

    Args:
        config: the configuration of their loader.
    """
    any_value = {"name", "version", "data_dir", "data_files", "description", "sep", "delimiter"}
    usual = type(config)()
    names = [field.name for field in fields(config) if field.name not in any_value]
    return all(getattr(config, name) == getattr(usual, name) for name in names)


def _loader_of(on_disk: Sequence[Path], name: str) -> str:
    """The loader of ``datasets`` for the most common suffix that it knows."""
    from datasets.packaged_modules import _EXTENSION_TO_MODULE

    suffixes = [file.suffix.lower() for file in on_disk]
    found = Counter(_EXTENSION_TO_MODULE[suffix][0] for suffix in suffixes if suffix in _EXTENSION_TO_MODULE)
    if not found:
        raise TargetError(f"{name} holds no data files, but {_counted(on_disk)}")
    return str(found.most_common(1)[0][0])


def _has_configurations(folder: Path) -> bool:
    """Whether a card in the folder says which files belong to it."""
    try:
        with (folder / "README.md").open(encoding="utf-8", errors="replace") as card:
            return "data_files:" in card.read(2**16)
    except OSError:
        return False


def _all_files(folder: Path) -> list[Path]:
    """The files of a folder and of its folders, except hidden ones."""
    found = []
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith((".", "__"))]
        found += [Path(parent, name) for name in names if not name.startswith((".", "__"))]
    return sorted(found)


def _check_all_taken(
    builder: datasets.DatasetBuilder,
    folder: Path,
    held: Sequence[Path],
    files: Mapping[str, Sequence[Path]],
    name: str,
) -> None:
    """Check that no file was left out because the names of others look like those of a split."""
    taken = {file for held in files.values() for file in held}
    suffixes = Counter(file.suffix.lower() for file in taken)
    if isinstance(builder, FolderBasedBuilder):
        data_suffixes = set(builder.EXTENSIONS)
    else:
        data_suffixes = {suffixes.most_common(1)[0][0]} if suffixes else set()
    on_disk = [file for file in held if file.suffix.lower() in data_suffixes]
    lost = [file for file in on_disk if file not in taken]
    if not lost:
        return
    if broken := [file for file in lost if not file.exists()]:
        raise TargetError(f"{_within(broken[0], folder)} in {name} is a link to a file that is not there: remove it")
    splits = ", ".join(f"{split} with {counted(len(held), 'file')}" for split, held in files.items())
    example = next((held[0] for held in files.values() if held), lost[0])
    raise TargetError(
        f"{len(lost)} of {len(on_disk)} files in {name} would be left out, such as {_within(lost[0], folder)}, since "
        f"the names of others, such as {_within(example, folder)}, look like those of a split ({splits}). Rename "
        "these, or put the folders of all classes into one more folder for each split, such as train/"
    )


def _check_suffixes(builder: FolderBasedBuilder, folder: Path, on_disk: Sequence[Path], name: str) -> list[str]:
    """Warn of files whose suffix is not read; refuse the folder if a class has no other files."""
    readable: Counter[Path] = Counter()
    skipped: defaultdict[Path, list[Path]] = defaultdict(list)
    for file in on_disk:
        suffix = file.suffix.lower()
        if suffix in builder.EXTENSIONS:
            readable[file.parent] += 1
        elif suffix not in _BESIDE:
            skipped[file.parent].append(file)
    kind = builder.BASE_COLUMN_NAME
    for parent, held in skipped.items():
        if not readable[parent] and parent != folder:
            raise TargetError(
                f"the folder {parent.name!r} in {name} would be lost, since datasets does not read files such as "
                f"{held[0].name} as {kind}: convert {form(len(held), 'it', f'all {len(held)}')}, for example to "
                f"{'PNG' if kind == 'image' else 'a usual format'}"
            )
    lost = [file for held in skipped.values() for file in held]
    if not lost:
        return []
    return [
        f"{counted(len(lost), 'file')} of the folder {form(len(lost), 'was', 'were')} not read, since datasets does "
        f"not read {form(len(lost), 'its suffix', 'their suffixes')} as {kind} ({_counted(lost)})"
    ]


def _counted(files: Sequence[Path]) -> str:
    """The most common suffixes of some files, as ``12 .heic, 1 .txt``."""
    common = Counter(file.suffix.lower() or "without a suffix" for file in files).most_common(3)
    return ", ".join(f"{count} {suffix}" for suffix, count in common)


def _empty(builder: FolderBasedBuilder, folder: Path, on_disk: Sequence[Path]) -> list[str]:
    """Warn of folders beside those of the classes that hold no file to read."""
    held = {parent for file in on_disk if file.suffix.lower() in builder.EXTENSIONS for parent in file.parents}
    above = {file.parent.parent for file in on_disk if file.suffix.lower() in builder.EXTENSIONS}
    empty = [
        _within(beside, folder)
        for parent in sorted(above)
        if parent.is_relative_to(folder)
        for beside in sorted(parent.iterdir())
        if beside.is_dir() and beside not in held and not beside.name.startswith((".", "__"))
    ]
    if not empty:
        return []
    listed = ", ".join(map(repr, empty[:5])) + (f" and {len(empty) - 5} more" if len(empty) > 5 else "")
    folders, hold = form(len(empty), "folder", "folders"), form(len(empty), "holds", "hold")
    no_class = form(len(empty), "is no class", "are no classes")
    return [f"the {folders} {listed} {hold} no {builder.BASE_COLUMN_NAME} file, and so {no_class}"]


def _not_in_metadata(builder: FolderBasedBuilder, files: Mapping[str, Sequence[Path]], num_rows: int) -> list[str]:
    """Warn of files that a metadata file beside them does not name: ``datasets`` leaves them out."""
    taken = [file for held in files.values() for file in held]
    data = [file for file in taken if file.suffix.lower() in builder.EXTENSIONS]
    beside = [file.name for file in taken if file.name in builder.METADATA_FILENAMES]
    if not beside or num_rows >= len(data):
        return []
    lost = len(data) - num_rows
    were, them = form(lost, "was", "were"), form(lost, "it", "them")
    return [f"{lost} of {len(data)} files of the folder {were} not read, since {beside[0]} does not name {them}"]


def _check_labels(
    builder: FolderBasedBuilder, folder: Path, files: Mapping[str, Sequence[Path]], columns: set[str], name: str
) -> None:
    """Say why the names of the folders did not become labels."""
    if columns - {builder.BASE_COLUMN_NAME, "file_name"}:
        return
    data = [file for held in files.values() for file in held if file.suffix.lower() in builder.EXTENSIONS]
    depths = Counter(len(file.relative_to(folder).parts) for file in data if file.is_relative_to(folder))
    if archives := [file.name for held in files.values() for file in held if file.suffix.lower() in _ARCHIVES]:
        raise TargetError(f"the labels in {archives[0]} cannot be read while it is packed: unpack it first")
    if len({file.parent for file in data}) < 2:
        tables = [file.name for file in _all_files(folder) if file.suffix.lower() in (".csv", ".tsv", ".jsonl")]
        or_give = f", or give {tables[0]} as the data set if it names them and their classes" if tables else ""
        raise TargetError(
            f"{name} has no labels, since {form(len(data), 'its only file is', f'all {len(data)} files are')} in one "
            f"folder: put the files of each class into a folder of their own{or_give}"
        )
    usual = depths.most_common(1)[0][0]
    stray = [file for file in data if len(file.relative_to(folder).parts) != usual]
    if stray:
        raise TargetError(
            f"{name} has no labels, since {len(stray)} of {len(data)} files {form(len(stray), 'is', 'are')} not in "
            f"the folder of a class, such as {_within(stray[0], folder)}: move {form(len(stray), 'it', 'them')}"
        )


def _nested(builder: FolderBasedBuilder, folder: Path, files: Mapping[str, Sequence[Path]]) -> list[str]:
    """Warn where classes lie in folders of folders, whose names are not read."""
    for held in files.values():
        classes = {file.parent for file in held if file.suffix.lower() in builder.EXTENSIONS}
        above = sorted({parent.parent for parent in classes})
        if len(above) > 1:
            inner = ", ".join(sorted({parent.name for parent in classes})[:3])
            outer = ", ".join(_within(parent, folder) for parent in above[:3])
            return [f"the labels are the names of the innermost folders ({inner}, …), not of those above ({outer}, …)"]
    return []


def _within(path: Path, folder: Path) -> str:
    return str(path.relative_to(folder)) if path.is_relative_to(folder) else path.name


def files_of(path: Path) -> str:
    """A file as a pattern of ``datasets`` that matches it alone.

    Args:
        path: the file.
    """
    return glob.escape(str(_plain_path(path)))
