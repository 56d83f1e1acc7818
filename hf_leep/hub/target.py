"""Fix the revision of a data set on the Hub."""

from __future__ import annotations

import re

from hf_leep.errors import TargetError
from hf_leep.hub.answers import is_commit
from hf_leep.hub.client import CHECK, Client
from hf_leep.text import similar_path

_MISSING = "no such file or folder, and no such data set on the Hub that this login can see"


def pin_dataset(name: str, revision: str | None, client: Client) -> str | None:
    """Look up the commit of a data set's revision.

    While HF_HUB_OFFLINE is set the answer is None: ``datasets`` then takes the revision that is in its cache.

    Args:
        name: its id on the Hub.
        revision: branch, tag or commit; the newest commit by default.
        client: how to reach the Hub.

    Raises:
        TargetError: the id is not valid, there is no such data set or revision, no access, or no answer.
        UserError: the token is not valid.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(name)
    except HFValidationError:
        raise TargetError(
            f"{name}: no such file or folder, and not a name that a data set on the Hub can have"
        ) from None
    if client.offline:
        return None
    if revision is None or not re.fullmatch(r"[0-9a-f]{40}", revision):  # another process has pinned it otherwise
        client.check_login()
    try:
        info = client.ask(
            # This call ignores the timeout of the session.
            lambda api: api.dataset_info(name, revision=revision, timeout=30.0),
            raises=TargetError,
            missing=_MISSING,
            gone=f"the repository has no revision {revision!r}",
            unreachable=f"no such file or folder here{similar_path(name)}, and ",
        )
        if info.gated:
            client.ask(lambda api: api.auth_check(name, repo_type="dataset"), raises=TargetError, missing=_MISSING)
    except TargetError as error:
        raise TargetError(f"{name} cannot be read ({error})") from None
    if not is_commit(info.sha):
        raise TargetError(f"the Hub's answer about {name} cannot be right, its commit is {info.sha!r:.60}: {CHECK}")
    return str(info.sha)
