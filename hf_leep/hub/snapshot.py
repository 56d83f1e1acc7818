"""A candidate's name → a pinned snapshot on disk, from a local folder or from the Hub."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from hf_leep.errors import CandidateError, one_line, option
from hf_leep.hub.client import Client
from hf_leep.records import Candidate

_ADDRESS = re.compile(r"https?://(huggingface\.co|hf\.co)/(?=[^/]+/[^/]+$)")  # of a repository's page
_REPO_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
# One set of weights: a single file, or an index and its shards; the safe kind first.
_SAFE = ("model.safetensors", "model.safetensors.index.json", re.compile(r"model-\d+-of-\d+\.safetensors"))
_PICKLED = ("pytorch_model.bin", "pytorch_model.bin.index.json", re.compile(r"pytorch_model-\d+-of-\d+\.bin"))
# What configurations, processors and tokenizers are made of, beside the weights, at the top level of a checkpoint.
_SMALL = re.compile(
    r"(config|preprocessor_config|video_preprocessor_config|processor_config|tokenizer|tokenizer_config|special_tokens_map|added_tokens|vocab"
    r"|image_processor_config|adapter_config)\.json|vocab\.\w+|merges\.txt|bpe\.codes|[\w.-]+\.(model|tiktoken|spm)|README\.md"
)
_POOLING = "1_Pooling/config.json"  # how sentence-transformers pools: the only small file further down
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack")


class RepoId(str):
    """A name that the Hub gave: a repository's, never a folder's that happens to be called the same."""

    __slots__ = ()


@dataclass(frozen=True)
class File:
    """A file of a repository.

    Attributes:
        size: bytes, None where the Hub does not say.
        checksum: SHA-256 of its content; of small files the id that git gives it; None where the Hub states neither.
        cached: whether it was in the cache when the snapshot was resolved.
    """

    size: int | None
    checksum: str | None
    cached: bool


@dataclass(frozen=True)
class Snapshot:
    """A candidate at one revision.

    Attributes:
        candidate: what it is.
        path: its folder on disk; None while it is only on the Hub: `fetch` brings it.
        files: for a repository, name → file, those to bring.
        ref: the branch, tag or commit that was asked for.
    """

    candidate: Candidate
    path: Path | None
    files: Mapping[str, File] = field(default_factory=dict)
    ref: str = "main"

    @property
    def place(self) -> tuple[str, str | None]:
        """Repository and commit."""
        return self.candidate.id, self.candidate.revision

    @property
    def weights(self) -> list[str]:
        """Names of the repository's files of weights."""
        return [name for name in self.files if name.endswith((".safetensors", ".bin"))]

    @property
    def download_bytes(self) -> int:
        """What `fetch` has to bring."""
        return sum(file.size or 0 for file in self.files.values() if not file.cached)


@dataclass(frozen=True)
class Peek:
    """What a snapshot tells before its weights are here.

    Attributes:
        folder: a folder that holds its config.json.
        shapes: weight → its shape; None where the weights are pickled, which nobody reads without loading them.
    """

    folder: Path
    shapes: Mapping[str, Sequence[int]] | None


def resolve(name: str, client: Client | None = None) -> Snapshot:
    """Pin a candidate to one revision, without moving its weights.

    Args:
        name: a local folder, or a repo id on the Hub, ``id@revision`` to choose a revision; a `RepoId` is no folder.
        client: how to reach the Hub.

    Raises:
        CandidateError: no such folder or repository, no access, or no complete weights of a kind that is accepted.
    """
    client = client or Client()
    name = name if isinstance(name, RepoId) else _ADDRESS.sub("", name)
    folder = None if isinstance(name, RepoId) else Path(name).expanduser()
    if folder is not None and folder.is_dir():
        return _local(name, folder, client)
    repo_id, _, revision = name.partition("@")
    if (folder is not None and folder.exists()) or not _REPO_ID.fullmatch(repo_id) or name.startswith((".", "/", "~")):
        raise CandidateError(f"{name!r} is neither a folder nor a repo id: give a folder with a config.json")
    return _cached(repo_id, revision or None, client) if client.offline else _remote(repo_id, revision or None, client)


def peek(snapshot: Snapshot, client: Client | None = None) -> Peek:
    """Bring a snapshot's configuration, and read the shapes of its weights from the head of their files alone.

    Raises:
        CandidateError: no access, or a file is damaged.
    """
    client = client or Client()
    if snapshot.path is not None:
        files = [p.name for p in snapshot.path.iterdir()]
        chosen = _choose(files, client.allow_pickle, snapshot.path)
        folder, weights = snapshot.path, [f for f in chosen if f.endswith((".safetensors", ".bin"))]
    else:
        folder, weights = _bring(snapshot, "config.json", client).parent, snapshot.weights
    if not all(file.endswith(".safetensors") for file in weights):
        return Peek(folder, None)
    shapes: dict[str, Sequence[int]] = {}
    for file in weights:
        if (folder / file).exists():
            shapes |= _check_weights(folder, file)
        else:
            ask = partial(_header, snapshot.candidate, file)
            shapes |= {name: tensor.shape for name, tensor in client.ask(ask).tensors.items()}
    return Peek(folder, shapes)


def configuration(snapshot: Snapshot, client: Client) -> Path:
    """Bring a snapshot's configuration, and return the folder that holds its config.json.

    Raises:
        CandidateError: no access, or it is damaged.
    """
    return snapshot.path or _bring(snapshot, "config.json", client).parent


def fetch(snapshot: Snapshot, client: Client | None = None, tqdm_class: Any = None) -> Path:
    """Bring a snapshot's files into the Hugging Face cache, check them, and return their folder.

    Each file comes once, from the pinned revision; one whose content does not have the checksum that the Hub states is
    brought once more, and then given up.

    Args:
        snapshot: from `resolve`.
        client: how to reach the Hub.
        tqdm_class: bar to show the bytes with; the Hub client's own by default.

    Raises:
        CandidateError: no access, the download failed, or what came is damaged.
    """
    if snapshot.path is not None:
        return snapshot.path
    client = client or Client()
    path = Path()
    for file in snapshot.files:
        # One by one, in this thread: the Hub client's way of bringing several would hold up the end of the process.
        path = _bring(snapshot, file, client, tqdm_class).parents[file.count("/")]
    for file in snapshot.files:
        if file.endswith(".safetensors"):
            _check_weights(path, file)
    _remember(snapshot, path)
    return path


def evict(snapshot: Snapshot, client: Client) -> None:
    """Remove from the cache again what this client brought of a snapshot; content that other snapshots use stays."""
    folder = _cache_folder(snapshot.candidate.id, client) / "snapshots"
    revision = folder / str(snapshot.candidate.revision)
    brought = list(client.brought)  # a copy at one stroke: the next candidate may be on its way in another thread
    for path in [path for path in brought if path.is_relative_to(revision)]:
        client.brought.discard(path)
        blob = path.resolve()
        path.unlink(missing_ok=True)
        used = any(other.resolve() == blob for other in folder.rglob("*") if other.is_symlink())
        if blob != path and not used:
            blob.unlink(missing_ok=True)
    for empty in sorted((p for p in [revision, *revision.rglob("*")] if p.is_dir()), reverse=True):
        if not any(empty.iterdir()):
            empty.rmdir()


def described(metadata: Mapping[str, Any] | None) -> dict[str, Any]:
    """What the metadata of a card says of a candidate: its licence, and the data sets that it was trained on."""
    metadata = metadata or {}
    stated, trained_on = metadata.get("license"), metadata.get("datasets")
    if isinstance(stated, list):
        stated = ", ".join(name for name in stated if isinstance(name, str)) or None
    names = [trained_on] if isinstance(trained_on, str) else trained_on if isinstance(trained_on, list) else []
    return {
        "license": stated if isinstance(stated, str) else None,
        "trained_on": tuple(name for name in names if isinstance(name, str)),
    }


def _described_in(folder: Path) -> dict[str, Any]:
    from huggingface_hub import metadata_load

    try:
        return described(metadata_load(folder / "README.md"))
    except Exception:  # no card, or one that is not YAML: it gives notes, not conditions
        return described(None)


def _local(name: str, folder: Path, client: Client) -> Snapshot:
    files = sorted(p.name for p in folder.iterdir() if p.is_file())
    if "config.json" not in files:
        folders = sorted(f"{p.name}/" for p in folder.iterdir() if p.is_dir())
        held = (files + folders)[:5]
        raise CandidateError(f"no config.json in the folder (it holds {', '.join(held)})" if held else "it is empty")
    if (folder / _POOLING).is_file():
        files.append(_POOLING)
    chosen = _choose(files, client.allow_pickle, folder)
    # Whatever else lies in a local folder may be part of a processor, so it counts; weights that are not used do not.
    unused = (*_PICKLES, ".safetensors")
    kept = sorted({*chosen, *(f for f in files if not f.startswith(".") and not f.endswith(unused))})
    for file in kept:
        if file.endswith(".safetensors"):
            _check_weights(folder, file)
    digest = hashlib.sha256()
    for file in kept:
        digest.update(f"{file}\0{client.digest(folder / file)}\0".encode())
    return Snapshot(Candidate(name, f"sha256:{digest.hexdigest()}", **_described_in(folder)), folder)


def _remote(repo_id: str, revision: str | None, client: Client) -> Snapshot:
    from huggingface_hub import try_to_load_from_cache

    info = client.ask(
        lambda api: api.model_info(repo_id, revision=revision, files_metadata=True),
        revision=revision,
        silent="no such folder here, and ",
    )
    stated = {sibling.rfilename: sibling for sibling in info.siblings or []}
    if "config.json" not in stated:
        raise CandidateError("the repository has no config.json: not a transformers checkpoint")
    if info.gated:
        client.ask(lambda api: api.auth_check(repo_id))
    sha = str(info.sha)
    if not re.fullmatch(r"[0-9a-f]{40}", sha):
        raise CandidateError(f"the Hub names no commit for it, but {sha[:50]!r}")
    files = {
        name: File(
            stated[name].size,
            stated[name].lfs.sha256 if stated[name].lfs is not None else stated[name].blob_id,
            isinstance(try_to_load_from_cache(repo_id, name, revision=sha, cache_dir=client.cache_dir), str),
        )
        for name in _choose(list(stated), client.allow_pickle, None)
    }
    card: Any = info.card_data
    about = described(card.to_dict() if card is not None else None)
    tagged = [tag.removeprefix("dataset:") for tag in info.tags or [] if tag.startswith("dataset:")]
    about["trained_on"] = tuple(dict.fromkeys([*about["trained_on"], *tagged]))
    about |= {"gated": bool(info.gated), "private": bool(info.private)}
    about["downloads"] = info.downloads if isinstance(info.downloads, int) else None
    return Snapshot(Candidate(repo_id, sha, **about), None, files, revision or "main")


def _cached(repo_id: str, revision: str | None, client: Client) -> Snapshot:
    """A repository while HF_HUB_OFFLINE is set: what the cache holds of it, if that is enough."""
    from huggingface_hub.errors import IncompleteSnapshotError, LocalEntryNotFoundError

    try:
        folder = Path(
            client.api.snapshot_download(repo_id, revision=revision, local_files_only=True, cache_dir=client.cache_dir)
        )
    except IncompleteSnapshotError as error:  # of all its files; hf_leep needs a few of them
        folder = Path(error.snapshot_path)
    except (LocalEntryNotFoundError, OSError, ValueError):
        newest = _newest(repo_id, client) if revision is None else None
        if newest is None:
            raise CandidateError("no such folder, and not in the local cache while HF_HUB_OFFLINE is set") from None
        folder = newest
    # Its commit names its content: nothing to hash.
    try:
        found = _local(repo_id, folder, Client(allow_pickle=client.allow_pickle, digest=lambda _path: ""))
    except CandidateError as error:
        raise CandidateError(f"not whole in the local cache while HF_HUB_OFFLINE is set: {error}") from None
    return Snapshot(Candidate(repo_id, folder.name, **_described_in(folder)), found.path)


def _bring(snapshot: Snapshot, file: str, client: Client, tqdm_class: Any = None) -> Path:
    """Bring one file of a repository into the cache, if it is not there, and check what came; twice if need be.

    Raises:
        CandidateError: no access, the download failed, or what came is damaged.
    """
    from huggingface_hub import try_to_load_from_cache

    about, stated = snapshot.candidate, snapshot.files[file]
    there = try_to_load_from_cache(about.id, file, revision=about.revision, cache_dir=client.cache_dir)
    for force in (False, True):
        path = Path(
            client.ask(
                lambda api: api.hf_hub_download(
                    about.id,
                    file,
                    revision=about.revision,
                    cache_dir=client.cache_dir,
                    force_download=force,  # noqa: B023 - called here and now
                    tqdm_class=tqdm_class,
                )
            )
        )
        if not isinstance(there, str):
            client.brought.add(path)
        if stated.checksum is None or _checksum(path.resolve(), len(stated.checksum), client) == stated.checksum:
            return path
        path.resolve().unlink()  # the blob that the snapshot's link leads to
    path.unlink(missing_ok=True)
    raise CandidateError(f"{file} came twice without the checksum that the Hub states: it was removed again")


def _checksum(path: Path, length: int, client: Client) -> str:
    """SHA-256 of a file, or of 40 digits the id that git gives it."""
    if length != 40:
        return client.digest(path)
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()  # noqa: S324 - git's own choice


def _remember(snapshot: Snapshot, path: Path) -> None:
    """Note which commit a branch was at, as the Hub's client does where it resolves it: for HF_HUB_OFFLINE."""
    if re.fullmatch(r"[0-9a-f]{40}", snapshot.ref) or not re.fullmatch(r"[\w.-]+", snapshot.ref):
        return
    refs = path.parent.parent / "refs"
    with contextlib.suppress(OSError):
        refs.mkdir(exist_ok=True)
        temporary = refs / f".{snapshot.ref}.{os.getpid()}.tmp"
        temporary.write_text(path.name)
        temporary.replace(refs / snapshot.ref)


def _cache_folder(repo_id: str, client: Client) -> Path:
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    return Path(client.cache_dir or constants.HF_HUB_CACHE) / repo_folder_name(repo_id=repo_id, repo_type="model")


def _newest(repo_id: str, client: Client) -> Path | None:
    """The whole snapshot of a repository that came into the cache last."""
    found = list(_cache_folder(repo_id, client).glob("snapshots/*/config.json"))
    for config in sorted(found, key=lambda file: file.lstat().st_mtime, reverse=True):
        with contextlib.suppress(CandidateError):
            _choose([p.name for p in config.parent.iterdir()], client.allow_pickle, config.parent)
            return config.parent
    return None


def _header(about: Candidate, file: str, api: Any) -> Any:
    return api.parse_safetensors_file_metadata(about.id, file, revision=about.revision)


def _choose(files: list[str], allow_pickle: bool, folder: Path | None) -> list[str]:
    """Files to use: one set of weights and the small files beside it, at the top level but for `_POOLING`.

    Args:
        files: what there is.
        allow_pickle: accept pickled weights where there are no others.
        folder: where they lie, for the names that an index gives; None where only the names can be seen.
    """
    top = [f for f in files if "/" not in f]
    for single, index, shard in (_SAFE, _PICKLED) if allow_pickle else (_SAFE,):
        if single in top:
            weights = [single]
        elif index in top:
            shards = _shards(folder, index) if folder is not None else [f for f in top if shard.fullmatch(f)]
            weights = [index, *shards]
        else:
            continue
        return sorted({*weights, *(f for f in files if _SMALL.fullmatch(f) or f == _POOLING)})
    pickles = [f for f in top if f.endswith(_PICKLES)]
    if pickles and not allow_pickle:
        raise CandidateError(
            f"pickled weights only ({', '.join(pickles[:3])}); hf_leep loads safetensors: convert it first, "
            f"or allow them with {option('hub.allow_pickle')}"
        )
    raise CandidateError("no weights: model.safetensors is missing")


def _shards(folder: Path, index: str) -> list[str]:
    try:
        names = sorted(set(json.loads((folder / index).read_text())["weight_map"].values()))
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise CandidateError(f"{index} is damaged: {one_line(error)}") from None
    for name in names:
        # Never follow an index out of its folder.
        if not isinstance(name, str) or Path(name).name != name or not (folder / name).is_file():
            raise CandidateError(f"{index} names {name!r}, which is not in the folder")
    return names


def _check_weights(folder: Path, file: str) -> dict[str, Sequence[int]]:
    """Shapes of a file's weights; raise unless it is whole: its header's offsets cover it to the last byte."""
    from safetensors import SafetensorError, safe_open

    try:
        with (folder / file).open("rb"), safe_open(folder / file, framework="np") as weights:
            return {name: weights.get_slice(name).get_shape() for name in weights.keys()}  # noqa: SIM118 - no dict
    except PermissionError:
        raise CandidateError(f"{file} cannot be read: permission denied") from None
    except (SafetensorError, OSError) as error:
        raise CandidateError(f"{file} is truncated or damaged: {one_line(error)}") from None
