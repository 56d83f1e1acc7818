"""Files of the store: written whole, and checked against their checksums when they are read."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import numpy as np

from hf_leep import temporary

JsonObject: TypeAlias = dict[str, Any]
"""Plain data, as ``json`` reads it."""


def reserve(stream: BinaryIO, size: int) -> None:
    """Allocate the disk space of a file."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(stream.fileno(), 0, size)
    else:
        stream.seek(128)  # behind numpy's header
        for start in range(128, size, 2**20):
            stream.write(bytes(min(2**20, size - start)))


def sha256(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_score(path: Path, key: str, score: JsonObject) -> None:
    """Write one line of JSON, then the influence values; the line begins with the checksum of both.

    Args:
        path: the file.
        key: the key of the pass that it is a score of; the score keeps it, and its own name.
        score: plain data, and ``influence``: a float32 array, or None.
    """
    influence = score["influence"]
    values = b"" if influence is None else np.asarray(influence, dtype="<f4").tobytes()
    content = {name: value for name, value in score.items() if name != "influence"}
    stored = {
        "key": key,
        "name": path.name,
        "score": content,
        "num_values": None if influence is None else len(influence),
    }
    text = json.dumps(stored, sort_keys=True)
    digest = hashlib.sha256(text.encode() + values).hexdigest()
    write(path, f"{digest} {text}\n".encode() + values)


def read_score(path: Path, key: str) -> JsonObject:
    """Read what `write_score` wrote; raise ValueError if it is damaged, or the score of something else."""
    head, _, values = path.read_bytes().partition(b"\n")
    digest, _, text = head.partition(b" ")
    if hashlib.sha256(text + values).hexdigest() != digest.decode("ascii", "replace"):
        raise ValueError("it does not have the checksum that it was written with")
    stored = json.loads(text)
    check_key(stored, key)
    if stored["name"] != path.name:
        raise ValueError("it was written as another score")
    influence = None if stored["num_values"] is None else np.frombuffer(values, dtype="<f4")
    return {**stored["score"], "influence": influence}


def check_key(stored: JsonObject, key: str) -> None:
    """Raise ValueError if something in the store was not written under this key."""
    if stored["key"] != key:
        raise ValueError("it was written for another candidate or other rows")


def remove(path: Path) -> None:
    """Remove a file or a folder."""
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def write(path: Path, content: bytes) -> None:
    """Write a file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary.write(path, content)


def write_json(path: Path, content: object) -> None:
    """Write plain data with its checksum."""
    text = json.dumps(content, sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()
    write(path, json.dumps({"sha256": digest, "content": content}, sort_keys=True).encode())


def read_json(path: Path) -> Any:
    """Read what `write_json` wrote; raise ValueError if it is damaged."""
    stored = json.loads(path.read_bytes())
    text = json.dumps(stored["content"], sort_keys=True)
    if hashlib.sha256(text.encode()).hexdigest() != stored["sha256"]:
        raise ValueError(f"{path.name} does not have the checksum it was written with")
    return stored["content"]
