"""A snapshot's files → the Hugging Face cache, each checked against its checksum; and out of the cache again."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from hf_leep.errors import CandidateError
from hf_leep.hub.client import Client
from hf_leep.hub.files import CARD, WEIGHTS, check_length, check_weights, choose
from hf_leep.hub.snapshot import Snapshot

if TYPE_CHECKING:
    from huggingface_hub import HfApi
    from huggingface_hub.utils import SafetensorsFileMetadata, tqdm

_T = TypeVar("_T")


@dataclass(frozen=True)
class Peek:
    """What is known of a snapshot before its weights are downloaded.

    Attributes:
        folder: a folder that holds its config.json.
        shapes: the shape of each weight; None where the weights are pickled, and only loading them would tell.
        sizes: the bytes of weights in each file whose header came from the Hub, by its name.
    """

    folder: Path
    shapes: Mapping[str, Sequence[int]] | None
    sizes: Mapping[str, int] = field(default_factory=dict)


def peek(snapshot: Snapshot, client: Client | None = None) -> Peek:
    """Download a snapshot's configuration, and read the shapes of its weights from the headers of their files.

    Args:
        snapshot: from `resolve`.
        client: how to reach the Hub.

    Raises:
        CandidateError: no access, or a file is damaged.
    """
    client = client or Client()
    if snapshot.path is not None:
        chosen = choose([p.name for p in snapshot.path.iterdir()], client.allow_pickle, snapshot.path)
        folder, weights = snapshot.path, [f for f in chosen if f.endswith(WEIGHTS)]
    else:
        folder, weights = _download(snapshot, "config.json", client).parent, snapshot.weights
    if not all(file.endswith(".safetensors") for file in weights):
        return Peek(folder, None)
    shapes: dict[str, Sequence[int]] = {}
    sizes: dict[str, int] = {}
    for file in weights:
        if (folder / file).exists():
            shapes |= check_weights(folder, file)
        else:
            metadata = _ask(snapshot, client, partial(_header, snapshot, file))
            shapes |= {name: tensor.shape for name, tensor in metadata.tensors.items()}
            sizes[file] = max((tensor.data_offsets[1] for tensor in metadata.tensors.values()), default=0)
    return Peek(folder, shapes, sizes)


def configuration(snapshot: Snapshot, client: Client) -> Path:
    """Download a snapshot's config.json, and return the folder that holds it.

    Args:
        snapshot: from `resolve`.
        client: how to reach the Hub.

    Raises:
        CandidateError: no access, or the file is damaged.
    """
    return snapshot.path or _download(snapshot, "config.json", client).parent


def fetch(snapshot: Snapshot, client: Client | None = None, tqdm_class: type[tqdm] | None = None) -> Path:
    """Download a snapshot's files into the Hugging Face cache, check them, and return their folder.

    Each file is downloaded once, from the snapshot's commit. A file whose content does not have the checksum that the
    Hub states is downloaded a second time, and is an error if that fails too.

    Args:
        snapshot: from `resolve`.
        client: how to reach the Hub.
        tqdm_class: the progress bar for the bytes; none by default.

    Raises:
        CandidateError: no access, the download failed, or a downloaded file is damaged.
    """
    if snapshot.path is not None:
        return snapshot.path
    client = client or Client()
    snapshot = _with_checksums(snapshot, client)
    path = Path()
    for file in snapshot.files:
        # One after the other, in this thread: huggingface_hub's own threads would delay the end of the process.
        try:
            path = _download(snapshot, file, client, tqdm_class).parents[file.count("/")]
        except CandidateError:
            if file != CARD:  # which nothing needs
                raise
    for file in snapshot.files:
        if file.endswith(".safetensors"):
            check_weights(path, file)
    _write_ref(snapshot, path)
    return path


def _with_checksums(snapshot: Snapshot, client: Client) -> Snapshot:
    """A snapshot with the checksums that a search did not state, unless all of its files are in the cache.

    A mirror may not answer: then only the large files are checked, which the cache names for their checksums.
    """
    if all(file.cached or file.checksum is not None for file in snapshot.files.values()):
        return snapshot
    revision = snapshot.candidate.revision
    with contextlib.suppress(CandidateError):
        from huggingface_hub.hf_api import RepoFile

        stated = client.ask(lambda api: api.get_paths_info(snapshot.name, list(snapshot.files), revision=revision))
        checksums = {
            str(entry.path): str(entry.lfs.sha256 if entry.lfs else entry.blob_id)
            for entry in stated
            if isinstance(entry, RepoFile)
        }
        return snapshot.with_checksums(checksums)
    return snapshot


def evict(snapshot: Snapshot, client: Client) -> None:
    """Delete from the cache the files of a snapshot that this client downloaded, unless another snapshot uses them.

    Args:
        snapshot: from `resolve`.
        client: the client that downloaded the files.
    """
    folder = client.cache_folder(snapshot.name) / "snapshots"
    revision = folder / str(snapshot.candidate.revision)
    downloaded = list(client.downloaded)  # a copy: another thread may be downloading the next candidate
    for path in [path for path in downloaded if path.is_relative_to(revision)]:
        client.downloaded.discard(path)
        blob = path.resolve()
        path.unlink(missing_ok=True)
        used = any(other.resolve() == blob for other in folder.rglob("*") if other.is_symlink())
        if blob != path and not used:
            blob.unlink(missing_ok=True)
    for empty in sorted((p for p in [revision, *revision.rglob("*")] if p.is_dir()), reverse=True):
        if not any(empty.iterdir()):
            empty.rmdir()


def _download(snapshot: Snapshot, file: str, client: Client, tqdm_class: type[tqdm] | None = None) -> Path:
    """Download one file of a repository unless it is in the cache, and check it; a second time if it is damaged.

    Raises:
        CandidateError: no access, the download failed, or the file is damaged.
    """
    from huggingface_hub import try_to_load_from_cache

    candidate, stated = snapshot.candidate, snapshot.files[file]
    cached = try_to_load_from_cache(snapshot.name, file, revision=candidate.revision, cache_dir=client.cache_dir)
    bar = tqdm_class or _no_bar()
    if not file.endswith(WEIGHTS):
        bar = _bounded(bar, file)
    for force in (False, True):
        path = Path(
            _ask(
                snapshot,
                client,
                lambda api: api.hf_hub_download(
                    snapshot.name,
                    file,
                    revision=candidate.revision,
                    cache_dir=client.cache_dir,
                    force_download=force,  # noqa: B023 - called at once
                    tqdm_class=bar,
                ),
            )
        )
        if not isinstance(cached, str):
            client.downloaded.add(path)
        if not file.endswith(WEIGHTS):
            check_length(file, path.stat().st_size)  # another program may have downloaded it
        blob = path.resolve()
        # The cache names a large file for the SHA-256 that the Hub states with it.
        checksum = stated.checksum or (blob.name if re.fullmatch(r"[0-9a-f]{64}", blob.name) else None)
        if checksum is None or _checksum(blob, len(checksum), client) == checksum:
            return path
        blob.unlink()  # what the snapshot's link points to
    path.unlink(missing_ok=True)
    raise CandidateError(
        f"{file} was downloaded twice, and did not match the checksum that the Hub states: it was deleted"
    )


def _ask(snapshot: Snapshot, client: Client, call: Callable[[HfApi], _T]) -> _T:
    """Send a request about a snapshot, which may be gone since its commit was looked up."""
    commit = str(snapshot.candidate.revision)[:7]
    return client.ask(
        call,
        missing="it is no longer on the Hub, or no longer visible to this login",
        gone=f"its commit {commit} is no longer on the Hub: run again to rank its newest one",
    )


def _no_bar() -> type[tqdm]:
    """A progress bar for huggingface_hub that shows nothing."""
    from huggingface_hub.utils import tqdm

    class NoBar(tqdm):
        def __init__(self, *args: object, **kwargs: object) -> None:
            super().__init__(*args, **{**kwargs, "disable": True})  # type: ignore[no-untyped-call]

    return NoBar


def _bounded(bar: type[tqdm], file: str) -> type[tqdm]:
    """A progress bar that ends the download of a file beside the weights when it is too long.

    A search does not state the sizes of files; the bar is told the size before the first byte is written.
    """

    class Bounded(bar):  # type: ignore[valid-type, misc]
        def __init__(self, *args: object, **kwargs: object) -> None:
            total = kwargs.get("total")
            check_length(file, total if isinstance(total, int) else None)
            self.num_bytes = 0
            super().__init__(*args, **kwargs)

        def update(self, n: float | None = 1) -> bool | None:
            self.num_bytes += int(n or 0)
            check_length(file, self.num_bytes)  # where no size is stated
            return super().update(n)  # type: ignore[no-any-return]

    return Bounded


def _checksum(path: Path, length: int, client: Client) -> str:
    """The SHA-256 of a file; where the checksum has 40 digits, the id that git gives to the file."""
    if length != 40:
        return client.digest(path)
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()  # noqa: S324 - git uses it


def _write_ref(snapshot: Snapshot, path: Path) -> None:
    """Note in the cache which commit a branch pointed to, as huggingface_hub does, for runs with HF_HUB_OFFLINE."""
    if re.fullmatch(r"[0-9a-f]{40}", snapshot.ref) or not re.fullmatch(r"[\w.-]+", snapshot.ref):
        return
    refs = path.parent.parent / "refs"
    with contextlib.suppress(OSError):
        refs.mkdir(exist_ok=True)
        temporary = refs / f".{snapshot.ref}.{os.getpid()}.tmp"
        temporary.write_text(path.name)
        temporary.replace(refs / snapshot.ref)


def _header(snapshot: Snapshot, file: str, api: HfApi) -> SafetensorsFileMetadata:
    return api.parse_safetensors_file_metadata(snapshot.name, file, revision=snapshot.candidate.revision)
