"""Resolve a candidate's name to a pinned snapshot on disk, from a local folder or from the Hub."""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from hf_leep.errors import CandidateError, one_line
from hf_leep.records import Candidate

_T = TypeVar("_T")

_REPO_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
_SECONDS = 30.0  # for one answer of the Hub's API; its client has no limit of its own
_TRIES = 3  # while the Hub says that it is busy or broken
_LONGEST_WAIT = 30.0
_SINGLE, _INDEX = "model.safetensors", "model.safetensors.index.json"
_SHARD = re.compile(r"model-\d+-of-\d+\.safetensors")
# What configurations, processors and tokenizers are made of, beside the weights, at the top level of a checkpoint.
_SMALL = re.compile(
    r"(config|preprocessor_config|processor_config|tokenizer|tokenizer_config|special_tokens_map|added_tokens|vocab"
    r"|image_processor_config|adapter_config)\.json|vocab\.\w+|merges\.txt|bpe\.codes|[\w.-]+\.(model|tiktoken|spm)|README\.md"
)
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack")


@dataclass(frozen=True)
class Snapshot:
    """A candidate at one revision.

    Attributes:
        candidate: what it is.
        path: its folder on disk; None while it is only on the Hub: `fetch` brings it.
        files: for a repository: the files to bring → their SHA-256, where the Hub states one.
    """

    candidate: Candidate
    path: Path | None
    files: Mapping[str, str | None] = field(default_factory=dict)


def resolve(name: str, file_digest: Callable[[Path], str] | None = None) -> Snapshot:
    """Pin a candidate to one revision, without moving its weights.

    Args:
        name: a local folder, or a repo id on the Hub, ``id@revision`` to choose a revision.
        file_digest: file → hex SHA-256, for a caller who remembers them; the file is hashed by default.

    Raises:
        CandidateError: no such folder or repository, no access, or no complete safetensors weights.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        return _local(name, folder, file_digest or _sha256)
    repo_id, _, revision = name.partition("@")
    if folder.exists() or not _REPO_ID.fullmatch(repo_id) or name.startswith((".", "/", "~")):
        raise CandidateError(f"{name!r} is neither a folder nor a repo id: give a folder with a config.json")
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return _cached(repo_id, revision or None)
    return _remote(repo_id, revision or None)


def fetch(snapshot: Snapshot, file_digest: Callable[[Path], str] | None = None) -> Path:
    """Bring a snapshot's files into the Hugging Face cache, check them, and return their folder.

    Each file comes once, from the pinned revision; one whose content does not have the checksum that the Hub states is
    brought once more, and then given up.

    Args:
        snapshot: from `resolve`.
        file_digest: as for `resolve`.

    Raises:
        CandidateError: no access, the download failed, or what came is damaged.
    """
    if snapshot.path is not None:
        return snapshot.path
    repo_id, revision = snapshot.candidate.id, str(snapshot.candidate.revision)
    digest = file_digest or _sha256
    folder = _asked(lambda: _api().snapshot_download(repo_id, revision=revision, allow_patterns=list(snapshot.files)))
    path = Path(folder)
    for file, expected in snapshot.files.items():
        if expected is None or digest((path / file).resolve()) == expected:
            continue
        (path / file).resolve().unlink()  # the blob that the snapshot's link leads to
        _asked(partial(_api().hf_hub_download, repo_id, file, revision=revision, force_download=True))
        if digest((path / file).resolve()) != expected:
            (path / file).resolve().unlink()
            raise CandidateError(f"{file} came twice without the checksum that the Hub states: it was removed again")
    for file in snapshot.files:
        if file.endswith(".safetensors"):
            _check_weights(path, file)
    return path


def license_of(folder: Path) -> str | None:
    """The licence that the card in a checkpoint's folder states, if any."""
    from huggingface_hub import metadata_load

    try:
        stated = (metadata_load(folder / "README.md") or {}).get("license")
    except Exception:  # no card, or one that is not YAML: the licence is a note, not a condition
        return None
    return stated if isinstance(stated, str) else None


def _local(name: str, folder: Path, file_digest: Callable[[Path], str]) -> Snapshot:
    files = sorted(p.name for p in folder.iterdir() if p.is_file())
    if "config.json" not in files:
        raise CandidateError(
            "the folder is empty" if not files else f"no config.json in the folder (it holds {', '.join(files[:5])})"
        )
    chosen = _choose(files, _shards(folder) if _INDEX in files and _SINGLE not in files else None)
    # Whatever else lies in a local folder may be part of a processor, so it counts; weights that are not used do not.
    unused = (*_PICKLES, ".safetensors")
    kept = sorted({*chosen, *(f for f in files if not f.startswith(".") and not f.endswith(unused))})
    for file in kept:
        if file.endswith(".safetensors"):
            _check_weights(folder, file)
    digest = hashlib.sha256()
    for file in kept:
        digest.update(f"{file}\0{file_digest(folder / file)}\0".encode())
    return Snapshot(Candidate(name, f"sha256:{digest.hexdigest()}", license=license_of(folder)), folder)


def _remote(repo_id: str, revision: str | None) -> Snapshot:
    info = _asked(
        lambda: _api().model_info(repo_id, revision=revision, files_metadata=True, timeout=_SECONDS),
        revision,
        prefix="no such folder here, and ",
    )
    stated = {sibling.rfilename: sibling for sibling in info.siblings or []}
    if "config.json" not in stated:
        raise CandidateError("the repository has no config.json: not a transformers checkpoint")
    if info.gated:
        _asked(lambda: _api().auth_check(repo_id))
    checksums = {
        file: stated[file].lfs.sha256 if stated[file].lfs is not None else None
        for file in _choose(list(stated), None)
        if file != "README.md"  # its metadata came with the answer
    }
    card: Any = info.card_data
    license_ = card.get("license") if card is not None else None
    return Snapshot(
        Candidate(repo_id, str(info.sha), license=license_ if isinstance(license_, str) else None), None, checksums
    )


def _cached(repo_id: str, revision: str | None) -> Snapshot:
    """A repository while HF_HUB_OFFLINE is set: what the cache holds of it, if that is enough."""
    from huggingface_hub.errors import IncompleteSnapshotError, LocalEntryNotFoundError

    try:
        folder = Path(_api().snapshot_download(repo_id, revision=revision, local_files_only=True))
    except IncompleteSnapshotError as error:  # of all its files; hf_leep needs a few of them
        folder = Path(error.snapshot_path)
    except (LocalEntryNotFoundError, OSError, ValueError):
        raise CandidateError("no such folder, and not in the local cache while HF_HUB_OFFLINE is set") from None
    found = _local(repo_id, folder, lambda _path: "")
    return Snapshot(Candidate(repo_id, folder.name, license=found.candidate.license), folder)


def _choose(files: list[str], shards: list[str] | None) -> list[str]:
    """Files to use: one set of safetensors weights and the small files beside it, at the top level only."""
    top = [f for f in files if "/" not in f]
    if _SINGLE in top:
        weights = [_SINGLE]
    elif _INDEX in top:
        weights = [_INDEX, *(shards if shards is not None else (f for f in top if _SHARD.fullmatch(f)))]
    else:
        pickles = [f for f in top if f.endswith(_PICKLES)]
        if pickles:
            raise CandidateError(
                f"pickled weights only ({', '.join(pickles[:3])}); hf_leep loads safetensors: convert it first"
            )
        raise CandidateError("no weights: model.safetensors is missing")
    return sorted({*weights, *(f for f in top if _SMALL.fullmatch(f))})


def _shards(folder: Path) -> list[str]:
    try:
        names = sorted(set(json.loads((folder / _INDEX).read_text())["weight_map"].values()))
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise CandidateError(f"{_INDEX} is damaged: {one_line(error)}") from None
    for name in names:
        # Never follow an index out of its folder.
        if not isinstance(name, str) or Path(name).name != name or not (folder / name).is_file():
            raise CandidateError(f"{_INDEX} names {name!r}, which is not in the folder")
    return names


def _check_weights(folder: Path, file: str) -> None:
    """Raise unless the file is whole: its header's offsets cover it to the last byte."""
    from safetensors import SafetensorError, safe_open

    try:
        with (folder / file).open("rb"), safe_open(folder / file, framework="np"):
            pass
    except PermissionError:
        raise CandidateError(f"{file} cannot be read: permission denied") from None
    except (SafetensorError, OSError) as error:
        raise CandidateError(f"{file} is truncated or damaged: {one_line(error)}") from None


def _api() -> Any:
    from huggingface_hub import HfApi

    from hf_leep import __version__

    return HfApi(library_name="hf_leep", library_version=__version__)


def _asked(call: Callable[[], _T], revision: str | None = None, prefix: str = "") -> _T:
    """Call the Hub, again where it says that it is busy or broken, and put its refusals into words.

    Raises:
        CandidateError: it refused, or did not answer.
    """
    from huggingface_hub import errors

    for attempt in range(_TRIES):
        try:
            return call()
        except errors.GatedRepoError:
            raise CandidateError("gated: ask for access on its page on the Hub, and log in (hf auth login)") from None
        except errors.RepositoryNotFoundError:
            raise CandidateError("no such folder, and no such repository on the Hub that this login can see") from None
        except errors.RevisionNotFoundError:
            raise CandidateError(f"the repository has no revision {revision!r}") from None
        except errors.HTTPError as error:
            response = getattr(error, "response", None)
            status = getattr(response, "status_code", None)
            busy = status is None or status == 429 or status >= 500
            if not busy or attempt == _TRIES - 1:
                raise CandidateError(f"{prefix}the Hub {_answer(status)}: {one_line(error)}") from None
            _wait(attempt, response)
        except (OSError, ValueError) as error:  # a full disk, a cut-off file, a name that the client refuses
            raise CandidateError(f"it could not be brought from the Hub: {one_line(error)}") from None
    raise AssertionError  # the last attempt returned or raised


def _wait(attempt: int, response: Any) -> None:
    """Wait as long as the Hub asks for, or 1, 2, 4 … seconds; never longer than `_LONGEST_WAIT`."""
    asked = response.headers.get("Retry-After", "") if response is not None else ""
    seconds = float(asked) if asked.isdigit() else 2.0**attempt
    time.sleep(min(seconds, _LONGEST_WAIT))


def _answer(status: int | None) -> str:
    return "did not answer" if status is None else f"answered {status}"


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
