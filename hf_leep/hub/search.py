"""Find candidates on the Hub: by search, or from a collection."""

from __future__ import annotations

import re
from itertools import islice, takewhile
from typing import TYPE_CHECKING

from hf_leep.errors import HubError, UserError, option
from hf_leep.hub.answers import count
from hf_leep.hub.client import Client
from hf_leep.hub.snapshot import RepoId
from hf_leep.options import Search

if TYPE_CHECKING:
    from huggingface_hub import CollectionItem, HfApi, ModelInfo
    from huggingface_hub.hf_api import ExpandModelProperty_T

# What a plan needs to know of a candidate: the Hub is asked once for a page of them, not for each.
_EXPAND: list[ExpandModelProperty_T] = [
    "cardData",
    "downloads",
    "gated",
    "model-index",
    "pipeline_tag",
    "private",
    "safetensors",
    "sha",
    "siblings",
    "tags",
]
_SLUG = re.compile(r"(?:https?://[^/]+/collections/)?([\w.-]+/[\w.-]+)/?")


def search(conditions: Search, client: Client | None = None) -> list[RepoId]:
    """Search the Hub for candidates.

    Args:
        conditions: what to search for.
        client: how to reach the Hub.

    Returns:
        Repository ids, in the order of ``conditions.sort``, each with what the search said of it.

    Raises:
        UserError: HF_HUB_OFFLINE is set, or nothing was found.
        HubError: the Hub refused, or did not answer.
    """
    client = client or Client()
    client.require_online(option("search"))
    client.check_login()
    largest = conditions.max_num_parameters
    fewest_downloads = conditions.min_downloads or 0
    filters = [conditions.library, f"license:{conditions.license}" if conditions.license else None]

    def matches(info: ModelInfo) -> bool:
        """Check size and downloads, by which the Hub does not filter reliably."""
        total = count(getattr(info.safetensors, "total", None))
        too_large = largest is not None and total is not None and total > largest
        return not too_large and (count(info.downloads) or 0) >= fewest_downloads

    def may_continue(info: ModelInfo) -> bool:
        """Whether a later result may match: sorted by downloads, none does after the first with too few."""
        return conditions.sort != "downloads" or (count(info.downloads) or 0) >= fewest_downloads

    def ask(api: HfApi) -> list[RepoId]:
        try:
            return found_by(api, _EXPAND)
        except (TypeError, KeyError, AttributeError, ValueError):
            # It cannot read the entry of one repository: ask about each on its own, so that one fails alone.
            return found_by(api, ["downloads"])

    def found_by(api: HfApi, expand: list[ExpandModelProperty_T]) -> list[RepoId]:
        found = api.list_models(
            search=conditions.text or None,
            pipeline_tag=conditions.task,
            filter=[word for word in filters if word] or None,
            author=conditions.author,
            trained_dataset=conditions.trained_on,
            num_parameters=f"max:{largest}" if largest is not None else None,
            sort=conditions.sort,
            limit=conditions.limit if conditions.min_downloads is None else None,
            expand=expand,
        )
        matching = filter(matches, takewhile(may_continue, found))
        known = expand is _EXPAND
        return [RepoId(str(info.id), info if known else None) for info in islice(matching, conditions.limit)]

    names = client.ask(ask, raises=HubError, tries=1)  # the Hub's client itself tries five times
    if not names:
        raise UserError(_nothing(conditions))
    return names


def _nothing(conditions: Search) -> str:
    """What to say of a search that found nothing: all that was asked for, with what was asked by default."""
    names = ("text", "task", "library", "author", "license", "trained_on", "max_params", "min_downloads")
    values = {name: getattr(conditions, name) for name in names}
    asked = [f"{option(f'search.{name}')} {value}" for name, value in values.items() if value]
    limits = [option(f"search.{name}") for name in names[3:] if values[name]]
    less = f", or relax {' or '.join(limits)}" if limits else ""
    return (
        f"the search found no checkpoint with {', '.join(asked)}: try a shorter {option('search.text')}, '' for any, "
        f"or another {option('search.task')} or {option('search.library')}{less}"
    )


def collection(slug: str, client: Client | None = None) -> list[RepoId]:
    """List the models of a collection, in its order.

    Args:
        slug: ``owner/title-0123456789abcdef``, or the address of its page.
        client: how to reach the Hub.

    Raises:
        UserError: HF_HUB_OFFLINE is set, there is no such collection, or it has no models.
        HubError: the Hub refused, or did not answer.
    """
    client = client or Client()
    client.require_online(option("collection"))
    client.check_login()
    slug = check_collection(slug)
    found = client.ask(lambda api: _items(api, slug), raises=HubError)
    if found is None:
        raise UserError(f"there is no collection {slug!r} on the Hub that this login can see")
    names = [RepoId(str(item.item_id)) for item in found if item.item_type == "model"]
    if not names:
        raise UserError(f"the collection {slug!r} has no models")
    return names


def check_collection(slug: str) -> str:
    """Check the form of a collection's name, without the Hub.

    Args:
        slug: as for `collection`.

    Returns:
        The ``owner/title-id`` of it.

    Raises:
        UserError: it has another form.
    """
    matched = _SLUG.fullmatch(slug.strip())
    if matched is None:
        raise UserError(f"{slug!r} is not a collection: give owner/title-id, the end of its address")
    return matched[1]


def _items(api: HfApi, slug: str) -> list[CollectionItem] | None:
    from huggingface_hub.errors import HfHubHTTPError

    try:
        return api.get_collection(slug).items
    except HfHubHTTPError as error:
        if error.response.status_code == 404:
            return None
        raise
