"""Find candidates on the Hub: by search, or from a collection."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import islice, takewhile
from typing import Any

from hf_leep.errors import HubError, UserError
from hf_leep.hub.client import Client
from hf_leep.hub.snapshot import RepoId

SORTS = ("downloads", "likes", "trending_score", "last_modified", "created_at")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmbgt]?)b?", re.IGNORECASE)
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "b": 10**9, "g": 10**9, "t": 10**12}
_SLUG = re.compile(r"(?:https?://[^/]+/collections/)?([\w.-]+/[\w.-]+)/?")


@dataclass(frozen=True)
class Search:
    """What to look for on the Hub; what is None does not matter.

    Attributes:
        text: part of the name.
        task: Hub task, such as ``image-classification``; by default the one of the data set's modality.
        library: library of the checkpoint.
        author: user or organisation.
        license: identifier of the licence, such as ``apache-2.0``.
        max_params: largest number of parameters, such as ``100M``.
        min_downloads: downloads in the last month.
        trained_on: data set that the checkpoint was trained on, as its card says.
        limit: how many candidates to take.
        sort: what puts them in order, the greatest first, one of `SORTS`.
    """

    text: str | None = None
    task: str | None = None
    library: str | None = "transformers"
    author: str | None = None
    license: str | None = None
    max_params: str | int | None = None
    min_downloads: int | None = None
    trained_on: str | None = None
    limit: int = 20
    sort: str = "downloads"

    def __post_init__(self) -> None:
        """Check what can be checked without the Hub.

        Raises:
            UserError: a size, limit or order that is none.
        """
        if self.max_params is not None:
            parse_size(self.max_params, "--max-params")
        if self.limit < 1:
            raise UserError(f"--limit is {self.limit}; it must be at least 1")
        if self.sort not in SORTS:
            raise UserError(f"--sort cannot be {self.sort!r}: {', '.join(SORTS)}")


def search(wanted: Search, client: Client | None = None) -> list[RepoId]:
    """Search the Hub for candidates; repo ids, the first in the order asked for first.

    Raises:
        UserError: HF_HUB_OFFLINE is set, or nothing was found.
        HubError: the Hub refused, or did not answer.
    """
    client = client or Client()
    client.require_online("--search")
    largest = parse_size(wanted.max_params, "--max-params") if wanted.max_params is not None else None
    filters = [wanted.library, f"license:{wanted.license}" if wanted.license else None]

    def keep(info: Any) -> bool:
        """Check again what the Hub was asked for, and what it cannot be asked for."""
        total = getattr(info.safetensors, "total", None)
        return not (
            (largest is not None and total is not None and total > largest)
            or (wanted.min_downloads is not None and (info.downloads or 0) < wanted.min_downloads)
        )

    def enough(info: Any) -> bool:
        """Whether those that follow may be wanted: in the order of downloads, none after the first with too few."""
        return wanted.sort != "downloads" or (info.downloads or 0) >= (wanted.min_downloads or 0)

    def ask(api: Any) -> list[RepoId]:
        found = api.list_models(
            search=wanted.text or None,
            pipeline_tag=wanted.task,
            filter=[word for word in filters if word] or None,
            author=wanted.author,
            trained_dataset=wanted.trained_on,
            num_parameters=f"max:{largest}" if largest is not None else None,
            sort=wanted.sort,
            limit=wanted.limit if wanted.min_downloads is None else None,
            expand=["downloads", "safetensors"],
        )
        return [RepoId(info.id) for info in islice(filter(keep, takewhile(enough, found)), wanted.limit)]

    names = client.ask(ask, raises=HubError, tries=1)  # its client has tried five times by then
    if not names:
        asked = ", ".join(f"{name} {value}" for name, value in vars(wanted).items() if value and name != "limit")
        raise UserError(f"the search found no checkpoint ({asked}): drop a condition")
    return names


def collection(slug: str, client: Client | None = None) -> list[RepoId]:
    """List the models of a collection, in its order.

    Args:
        slug: ``owner/title-0123456789abcdef``, or the address of its page.
        client: how to reach the Hub.

    Raises:
        UserError: HF_HUB_OFFLINE is set, there is no such collection, or it holds no model.
        HubError: the Hub refused, or did not answer.
    """
    client = client or Client()
    client.require_online("--collection")
    matched = _SLUG.fullmatch(slug.strip())
    if matched is None:
        raise UserError(f"{slug!r} is no collection: give owner/title-id, the end of its address")
    found = client.ask(lambda api: _items(api, matched[1]), raises=HubError)
    if found is None:
        raise UserError(f"there is no collection {matched[1]!r} on the Hub that this login can see")
    names = [RepoId(item.item_id) for item in found if item.item_type == "model"]
    if not names:
        raise UserError(f"the collection {matched[1]!r} holds no model")
    return names


def parse_size(value: str | int, what: str) -> int:
    """A count or a size for people, such as ``100M`` or ``20GB``, as a whole number.

    Raises:
        UserError: it is none.
    """
    matched = _SIZE.fullmatch(str(value).strip())
    if matched is None or float(matched[1]) <= 0:
        raise UserError(f"{what} is {value!r}; give a number such as 100M or 20GB")
    return int(float(matched[1]) * _UNITS[matched[2].lower()])


def _items(api: Any, slug: str) -> Any:
    from huggingface_hub.errors import HfHubHTTPError

    try:
        return api.get_collection(slug).items
    except HfHubHTTPError as error:
        if error.response.status_code == 404:
            return None
        raise
