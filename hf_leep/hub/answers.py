"""What the Hub's answers about a repository have to hold; a mirror or a proxy may send anything."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from huggingface_hub.hf_api import ModelInfo

REPO_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")


def is_commit(sha: object) -> bool:
    """Whether this is a commit's hash, in full."""
    return isinstance(sha, str) and re.fullmatch(r"[0-9a-f]{40}", sha) is not None


def count(value: object) -> int | None:
    """A number of downloads, parameters or bytes; None if it is no such number."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def problem(info: ModelInfo) -> str | None:
    """What is wrong with the parts of an answer about a model that nothing can be done without; None if nothing is.

    Args:
        info: the answer, as huggingface_hub reads it: it checks few types.
    """
    if not isinstance(info.id, str) or not REPO_ID.fullmatch(info.id):
        return f"its id is {_shown(info.id)}"
    if not is_commit(info.sha):
        return f"its commit is {_shown(info.sha)}"
    for sibling in info.siblings or []:
        name: object = sibling.rfilename
        lfs = sibling.lfs
        if not isinstance(name, str):
            return f"the name of a file is {_shown(name)}"
        if sibling.size is not None and count(sibling.size) is None:
            return f"the size of {_shown(name)} is {_shown(sibling.size)}"
        checksum: object = sibling.blob_id if lfs is None else lfs.sha256
        if checksum is not None and not isinstance(checksum, str):
            return f"the checksum of {_shown(name)} is {_shown(checksum)}"
    return None


def _shown(value: object) -> str:
    """A value in a message, on one short line."""
    return repr(value)[:60]
