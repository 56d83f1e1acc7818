"""Resolve a candidate's name to a pinned snapshot on disk, from a local folder or from the Hub."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hf_leep.errors import CandidateError
from hf_leep.records import Candidate

_REPO_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
_TIMEOUT = 30.0  # seconds for one answer of the Hub; its client has no default
_SINGLE, _INDEX = "model.safetensors", "model.safetensors.index.json"
# What a processor or tokenizer is made of, beside the weights.
_SMALL_FILES = (".json", ".txt", ".model", ".tiktoken", ".jinja", "README.md")
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack")


@dataclass(frozen=True)
class Snapshot:
    """A candidate's files on disk, at one revision."""

    candidate: Candidate
    path: Path


def resolve(name: str, file_digest: Callable[[Path], str] | None = None) -> Snapshot:
    """Pin a candidate and bring its files to disk: configuration, processor and one set of safetensors weights.

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
    return _remote(repo_id, revision or None)


def _local(name: str, folder: Path, file_digest: Callable[[Path], str]) -> Snapshot:
    files = sorted(p.name for p in folder.iterdir() if p.is_file())
    if "config.json" not in files:
        raise CandidateError(
            "the folder is empty" if not files else f"no config.json in the folder (it holds {', '.join(files[:5])})"
        )
    kept = _choose(files, _shards(folder) if _INDEX in files else None)
    for file in kept:
        if file.endswith(".safetensors"):
            _check_weights(folder, file)
    digest = hashlib.sha256()
    for file in kept:
        digest.update(f"{file}\0{file_digest(folder / file)}\0".encode())
    return Snapshot(Candidate(name, f"sha256:{digest.hexdigest()}", license=_license(folder)), folder)


def _remote(repo_id: str, revision: str | None) -> Snapshot:
    from huggingface_hub import HfApi, constants
    from huggingface_hub import errors as hub_errors

    from hf_leep import __version__

    api = HfApi(library_name="hf_leep", library_version=__version__)
    try:
        if constants.HF_HUB_OFFLINE:
            folder = Path(api.snapshot_download(repo_id, revision=revision, local_files_only=True))
            sha = folder.name
        else:
            info = api.model_info(repo_id, revision=revision, timeout=_TIMEOUT)
            sha = str(info.sha)
            files = [sibling.rfilename for sibling in info.siblings or []]
            if "config.json" not in files:
                raise CandidateError("the repository has no config.json: not a transformers checkpoint")
            wanted = [f for f in _choose(files, None) if f != "README.md"] + ["README.md"]
            folder = Path(api.snapshot_download(repo_id, revision=sha, allow_patterns=wanted))
    except hub_errors.GatedRepoError:
        raise CandidateError(f"gated: ask for access at its page on the Hub ({repo_id}) and log in") from None
    except hub_errors.RepositoryNotFoundError:
        raise CandidateError("no such folder, and no such repository on the Hub that this login can see") from None
    except hub_errors.RevisionNotFoundError:
        raise CandidateError(f"the repository has no revision {revision!r}") from None
    except (hub_errors.LocalEntryNotFoundError, hub_errors.OfflineModeIsEnabled):
        raise CandidateError("no such folder, and not in the local cache while HF_HUB_OFFLINE is set") from None
    except (hub_errors.HTTPError, OSError, ValueError) as error:
        raise CandidateError(f"no such folder, and the Hub did not answer: {_one_line(error)}") from None
    for file in sorted(p.name for p in folder.glob("*.safetensors")):
        _check_weights(folder, file)
    return Snapshot(Candidate(repo_id, sha, license=_license(folder)), folder)


def _choose(files: list[str], shards: list[str] | None) -> list[str]:
    """Files to use: one set of safetensors weights and the small files beside it, at the top level only."""
    top = [f for f in files if "/" not in f]
    if _SINGLE in top:
        weights = [_SINGLE]
    elif _INDEX in top:
        weights = shards if shards is not None else [f for f in top if re.fullmatch(r"model-.*\.safetensors", f)]
    else:
        pickles = [f for f in top if f.endswith(_PICKLES)]
        if pickles:
            raise CandidateError(
                f"pickled weights only ({', '.join(pickles[:3])}); hf_leep loads safetensors: convert it first"
            )
        raise CandidateError("no weights: model.safetensors is missing")
    return sorted({*weights, *(f for f in top if f.endswith(_SMALL_FILES))})


def _shards(folder: Path) -> list[str]:
    try:
        names = sorted(set(json.loads((folder / _INDEX).read_text())["weight_map"].values()))
    except (ValueError, KeyError, AttributeError) as error:
        raise CandidateError(f"{_INDEX} is damaged: {_one_line(error)}") from None
    for name in names:
        if Path(name).name != name or not (folder / name).is_file():  # never follow an index out of its folder
            raise CandidateError(f"{_INDEX} names {name!r}, which is not in the folder")
    return names


def _check_weights(folder: Path, file: str) -> None:
    """Raise unless the file is whole: its header's offsets cover it to the last byte."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(folder / file, framework="np"):
            pass
    except (SafetensorError, OSError) as error:
        raise CandidateError(f"{file} is truncated or damaged: {_one_line(error)}") from None


def _license(folder: Path) -> str | None:
    from huggingface_hub import metadata_load

    try:
        stated = (metadata_load(folder / "README.md") or {}).get("license")
    except Exception:  # no card, or one that is not YAML: the licence is a note, not a condition
        return None
    return stated if isinstance(stated, str) else None


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
