"""A candidate's name → a snapshot at a fixed revision, from a local folder or from the Hub."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from hf_leep.errors import CandidateError
from hf_leep.hub import files as checkpoint
from hf_leep.hub import model_card
from hf_leep.hub.answers import REPO_ID, count, problem
from hf_leep.hub.client import CHECK, Client
from hf_leep.records import Candidate
from hf_leep.text import similar_path

if TYPE_CHECKING:
    from huggingface_hub.hf_api import ModelInfo

_LOG = logging.getLogger("hf_leep")
_ADDRESS = re.compile(r"(https?|hf)://|(huggingface\.co|hf\.co)/")  # how one of a repository begins


class RepoId(str):
    """A repository id that came from the Hub: it is never taken for a local folder of the same name.

    Attributes:
        info: what a search has said of the repository, with its commit and the names of its files; None if nothing.
    """

    __slots__ = ("info",)
    info: ModelInfo | None

    def __new__(cls, repo_id: str, info: ModelInfo | None = None) -> RepoId:
        """Add what is known to an id."""
        new = super().__new__(cls, repo_id)
        new.info = info
        return new


@dataclass(frozen=True)
class File:
    """A file of a repository.

    Attributes:
        size: its size in bytes; None where the Hub does not say, as in the answer to a search.
        checksum: SHA-256 of its content, or the id that git gives to a small file; None likewise.
        cached: whether it was in the cache when the snapshot was resolved.
    """

    size: int | None
    checksum: str | None
    cached: bool


@dataclass(frozen=True)
class Snapshot:
    """A candidate at one revision.

    Attributes:
        candidate: the candidate.
        path: its folder on disk; None for a repository on the Hub, whose files `fetch` downloads.
        files: for a repository, the files to download, by name.
        ref: the branch, tag or commit that was asked for.
        name: for a repository, the id by which the cache knows it: that by which it was asked for, which may be an old
            one, or an earlier id of a commit that is in the cache already.
    """

    candidate: Candidate
    path: Path | None
    files: Mapping[str, File] = field(default_factory=dict)
    ref: str = "main"
    name: str = ""

    @property
    def pinned(self) -> tuple[str, str | None]:
        """The repository, or the folder, and its revision: what two names of one candidate have in common."""
        return str(self.path.resolve()) if self.path else self.candidate.id, self.candidate.revision

    @property
    def weights(self) -> list[str]:
        """The names of the repository's files that hold weights."""
        return [name for name in self.files if name.endswith(checkpoint.WEIGHTS)]

    @property
    def download_bytes(self) -> int:
        """How many bytes `fetch` has to download, as far as sizes are known."""
        return sum(file.size or 0 for file in self.files.values() if not file.cached)

    def with_sizes(self, sizes: Mapping[str, int]) -> Snapshot:
        """The same snapshot, with the sizes of files where none is known.

        Args:
            sizes: the size in bytes of some of its files, by name.
        """
        known = {name: replace(f, size=sizes.get(name)) if f.size is None else f for name, f in self.files.items()}
        return replace(self, files=known)

    def with_checksums(self, checksums: Mapping[str, str]) -> Snapshot:
        """The same snapshot, with the checksums of files where none is known.

        Args:
            checksums: those of some of its files, by name, as in `File`.
        """
        files = {name: replace(f, checksum=f.checksum or checksums.get(name)) for name, f in self.files.items()}
        return replace(self, files=files)


def resolve(name: str, client: Client | None = None) -> Snapshot:
    """Find a candidate and fix its revision, without downloading its weights.

    Args:
        name: a local folder, or a repo id on the Hub, ``id@revision`` to choose a revision, or the address of its
            page, or ``hf://id``; a `RepoId` is never a folder.
        client: how to reach the Hub.

    Raises:
        UserError: the token is not valid.
        CandidateError: no such folder or repository, no access, or no complete weights of an accepted format.
    """
    client = client or Client()
    folder = None if isinstance(name, RepoId) else Path(name).expanduser()
    if folder is not None and folder.is_dir():
        return _local(name, folder, client)
    if folder is not None and _ADDRESS.match(name):
        name, folder = _from_address(name), None
    repo_id, _, revision = name.partition("@")
    if (folder is not None and folder.exists()) or not REPO_ID.fullmatch(repo_id) or name.startswith((".", "/", "~")):
        hint = similar_path(name) if folder is not None and not folder.exists() else ""
        give = "give OWNER/NAME, or a folder with a config.json"
        raise CandidateError(f"{name!r} is neither a folder nor a repo id{hint}: {give}")
    if client.offline:
        return _cached(repo_id, revision or None, client)
    info = name.info if isinstance(name, RepoId) else None
    return _remote(repo_id, revision or None, client, info)


def _from_address(address: str) -> str:
    """The ``id`` or ``id@revision`` that an address names.

    Raises:
        CandidateError: it is not the address of a model.
    """
    from huggingface_hub import constants
    from huggingface_hub.errors import HfUriError, HFValidationError
    from huggingface_hub.utils import parse_hf_uri

    try:
        found = parse_hf_uri(address, endpoint=constants.ENDPOINT)
    except (HfUriError, HFValidationError, ValueError):
        raise CandidateError(f"{address!r} is not the address of a model on the Hub: give OWNER/NAME") from None
    if found.type != "model":
        raise CandidateError(f"{address!r} is the address of a {found.type}, not of a model")
    if found.path_in_repo:
        raise CandidateError(f"{address!r} leads to a file or folder in {found.id}: give the repository itself")
    return f"{found.id}@{found.revision}" if found.revision else str(found.id)


def _local(name: str, folder: Path, client: Client) -> Snapshot:
    checkpoint.check_kinds(folder)
    files = sorted(p.name for p in folder.iterdir() if p.is_file())
    if "config.json" not in files:
        held = files + sorted(f"{p.name}/" for p in folder.iterdir() if p.is_dir())
        if (known := checkpoint.what_it_holds(held, client.allow_pickle)) is not None:
            raise CandidateError(f"no config.json in the folder: {known}")
        names = ", ".join(held[:5])
        raise CandidateError(f"no config.json in the folder (it holds {names})" if held else "it is empty")
    if (folder / checkpoint.POOLING).is_file():
        files.append(checkpoint.POOLING)
    inside = [f"{p.name}/" for p in folder.iterdir() if p.is_dir()]
    chosen = checkpoint.choose([*files, *inside], client.allow_pickle, folder)
    # Any other file in a local folder may be part of a processor, so it counts; weights that are not used do not.
    # Those of an adapter are used, where peft is installed.
    unused = {f for f in files if f.endswith(checkpoint.ALL_WEIGHTS) and not f.startswith("adapter_model")}
    sizes = {file: (folder / file).stat().st_size for file in files}
    too_long = {f for f in files if sizes[f] > checkpoint.MAX_BESIDE}
    others = {f for f in files if not f.startswith(".")} - unused - too_long
    hashed = sorted({*chosen, *others} - ({checkpoint.CARD} & too_long))
    for file in chosen:
        if not file.endswith(checkpoint.WEIGHTS) and file != checkpoint.CARD:
            checkpoint.check_length(file, sizes[file])
    for file in hashed:
        checkpoint.check_pointer(folder, file)
    for file in chosen:
        if file.endswith(".safetensors"):
            checkpoint.check_weights(folder, file)
    digest = hashlib.sha256()
    for file in hashed:
        digest.update(os.fsencode(f"{file}\0{client.digest(folder / file)}\0"))  # a name need not be UTF-8
    return Snapshot(Candidate(name, f"sha256:{digest.hexdigest()}", **model_card.read_in(folder)), folder)


def _remote(repo_id: str, revision: str | None, client: Client, info: ModelInfo | None) -> Snapshot:
    """A repository on the Hub, which is asked about it unless a search has said enough (``info``)."""
    from huggingface_hub import try_to_load_from_cache

    client.check_login()
    searched = info is not None and info.siblings is not None and problem(info) is None
    if info is None or not searched:
        info = _ask(repo_id, revision, client)
        if (wrong := problem(info)) is not None:
            raise CandidateError(f"the Hub's answer about it cannot be right, {wrong}: {CHECK}")
    stated = {sibling.rfilename: sibling for sibling in info.siblings or []}
    if not {*stated} - {".gitattributes"}:
        raise CandidateError("the repository is empty")
    if "config.json" not in stated:
        known = checkpoint.what_it_holds(list(stated), client.allow_pickle)
        raise CandidateError(f"the repository has no config.json: {known or 'not a transformers checkpoint'}")
    chosen = checkpoint.choose(list(stated), client.allow_pickle, None)
    if checkpoint.is_too_long(stated[checkpoint.CARD].size if checkpoint.CARD in stated else None):
        chosen.remove(checkpoint.CARD)  # nothing needs it: the answer says what its metadata say
    for name in chosen:
        if not name.endswith(checkpoint.WEIGHTS):
            checkpoint.check_length(name, stated[name].size)
    if searched and any(name.endswith(".bin") for name in chosen):
        # Neither the search nor the files themselves state the sizes of pickled weights.
        return _remote(repo_id, revision, client, None)
    if info.gated:
        client.ask(lambda api: api.auth_check(repo_id))
    sha = str(info.sha)
    places = _in_cache(repo_id, sha, client)
    in_cache = next((id_ for id_, folder in places if all((folder / name).is_file() for name in chosen)), repo_id)
    files = {
        name: File(
            stated[name].size,
            lfs.sha256 if (lfs := stated[name].lfs) is not None else stated[name].blob_id,
            isinstance(try_to_load_from_cache(in_cache, name, revision=sha, cache_dir=client.cache_dir), str),
        )
        for name in chosen
    }
    card = model_card.read(_metadata(info))
    tags = [tag for tag in info.tags if isinstance(tag, str)] if isinstance(info.tags, list) else []
    tagged = [tag.removeprefix("dataset:")[: model_card.MAX_NAME] for tag in tags if tag.startswith("dataset:")]
    now = str(info.id)  # a renamed repository answers under its old name, too
    if now != repo_id:
        _LOG.warning("%s is called %s on the Hub now", repo_id, now)
    candidate = Candidate(
        now,
        sha,
        license=card["license"],
        trained_on=tuple(dict.fromkeys([*card["trained_on"], *tagged]))[: model_card.MAX_ENTRIES],
        stated_accuracy=card["stated_accuracy"],
        stated_on=card["stated_on"],
        gated=bool(info.gated),
        private=bool(info.private),
        downloads=count(info.downloads),
    )
    # A branch of another repository in the cache stays where it points.
    ref = (revision or "main") if in_cache == repo_id else sha
    return Snapshot(candidate, None, files, ref, in_cache)


def _ask(repo_id: str, revision: str | None, client: Client) -> ModelInfo:
    return client.ask(
        lambda api: api.model_info(repo_id, revision=revision, files_metadata=True),
        missing=f"no such folder{similar_path(repo_id)}, and no such model on the Hub that this login can see",
        gone=f"the repository has no revision {revision!r}",
        unreachable=f"no such folder here{similar_path(repo_id)}, and ",
    )


def _metadata(info: ModelInfo) -> dict[str, object]:
    """The metadata of a repository's card; the Hub finds out the task of many models whose card does not name it."""
    from huggingface_hub import ModelCardData

    metadata: dict[str, object] = info.card_data.to_dict() if isinstance(info.card_data, ModelCardData) else {}
    stated = {"model-index": info.model_index, "pipeline_tag": info.pipeline_tag}
    return metadata | {key: value for key, value in stated.items() if value is not None}


def _cached(repo_id: str, revision: str | None, client: Client) -> Snapshot:
    """A repository while HF_HUB_OFFLINE is set: its files in the cache, if there are enough of them."""
    from huggingface_hub.errors import IncompleteSnapshotError, LocalEntryNotFoundError

    try:
        named = (id_ for id_, folder in _in_cache(repo_id, revision, client) if _is_complete(folder, client))
        known = next(named, repo_id)
        folder = Path(
            client.api.snapshot_download(known, revision=revision, local_files_only=True, cache_dir=client.cache_dir)
        )
    except IncompleteSnapshotError as error:  # some of its files are missing; hf_leep needs only a few of them
        folder = Path(error.snapshot_path)
    except (LocalEntryNotFoundError, OSError, ValueError):
        newest = _newest(repo_id, client) if revision is None else None
        if newest is None:
            missing = "no such folder, and not in the local cache while HF_HUB_OFFLINE is set"
            raise CandidateError(f"{missing}{_similar_in_cache(repo_id, client)}") from None
        folder = newest
    # The folder is named for its commit, which stands for its content: nothing to hash.
    try:
        found = _local(repo_id, folder, Client(allow_pickle=client.allow_pickle, digest=lambda _path: ""))
    except CandidateError as error:
        raise CandidateError(f"incomplete in the local cache while HF_HUB_OFFLINE is set: {error}") from None
    return Snapshot(Candidate(repo_id, folder.name, **model_card.read_in(folder)), found.path)


def _in_cache(repo_id: str, revision: str | None, client: Client) -> Iterator[tuple[str, Path]]:
    """The folders of a commit in the cache, and the id of each: after a renaming, an earlier one.

    A commit stands for its content, in whichever repository it is.
    """
    own = client.cache_folder(repo_id)
    if re.fullmatch(r"[0-9a-f]{40}", revision or ""):
        for folder in [own / f"snapshots/{revision}", *own.parent.glob(f"models--*/snapshots/{revision}")]:
            if folder.is_dir():
                yield folder.parents[1].name.removeprefix("models--").replace("--", "/"), folder


def _similar_in_cache(repo_id: str, client: Client) -> str:
    """A repository in the cache that may be the same under an earlier id or correctly spelt: the end of a message."""
    folders = client.cache_folder(repo_id).parent.glob("models--*/snapshots")
    ids = sorted(folder.parent.name.removeprefix("models--").replace("--", "/") for folder in folders)
    name = repo_id.rpartition("/")[2].lower()
    same = [id_ for id_ in ids if id_.rpartition("/")[2].lower() == name and id_ != repo_id]
    found = (same or get_close_matches(repo_id, [id_ for id_ in ids if id_ != repo_id], 1, 0.8))[:1]
    return f"; the cache has {found[0]}: give that if the repository was renamed since" if found else ""


def _is_complete(folder: Path, client: Client) -> bool:
    """Whether a folder of the cache holds what is needed of a checkpoint."""
    with contextlib.suppress(CandidateError):
        checkpoint.choose([path.name for path in folder.iterdir()], client.allow_pickle, folder)
        return (folder / "config.json").is_file()
    return False


def _newest(repo_id: str, client: Client) -> Path | None:
    """The complete snapshot of a repository that was downloaded last."""
    found = list(client.cache_folder(repo_id).glob("snapshots/*/config.json"))
    newest_first = sorted(found, key=lambda file: file.lstat().st_mtime, reverse=True)
    return next((config.parent for config in newest_first if _is_complete(config.parent, client)), None)
