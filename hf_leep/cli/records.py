"""The option records that flags of the ``rank`` command ask for."""

from __future__ import annotations

from typing import Literal

from hf_leep.cli.output import complain
from hf_leep.errors import UserError
from hf_leep.options import Cluster, Race, Search, SearchOrder


def search_of(
    *,
    text: str | None,
    task: str | None,
    author: str | None,
    license: str | None,  # noqa: A002 - the option's name
    max_params: str | None,
    min_downloads: int | None,
    trained_on: str | None,
    library: str | None,
    limit: int | None,
    sort: SearchOrder | None,
) -> Search | None:
    """The search that the options ask for; None without one."""
    conditions = (text, task, author, license, max_params, min_downloads, trained_on)
    if all(condition is None for condition in conditions):
        given = {"library": library, "limit": limit, "sort": sort}
        if names := [f"--{name}" for name, value in given.items() if value is not None]:
            need = "needs" if len(names) == 1 else "need"
            raise UserError(
                f"{', '.join(names)} {need} a search: add --search TEXT, part of a name, or --search '' for any"
            )
        return None
    return Search(
        text=text,
        task=task,
        library=(Search.library if library is None else library) or None,
        author=author,
        license=license,
        max_params=max_params,
        min_downloads=min_downloads,
        trained_on=trained_on,
        limit=Search.limit if limit is None else limit,
        sort=Search.sort if sort is None else sort,
    )


def advise(search: Search | None, exit_code: int, headless: bool) -> None:
    """Say what else to search for, where nothing that was found can be ranked.

    Args:
        search: the search, if there was one.
        exit_code: 1 where nothing can be ranked.
        headless: whether some candidates only lack a head: then the advice is to rank by their features.
    """
    if search is None or exit_code != 1 or headless:
        return
    task = ", or leave out --task: then it is that of your data" if search.task else ""
    complain(
        "the search found no checkpoint that can be ranked, for the reasons above: try other words for --search, "
        f"or a --limit above {search.limit}{task}"
    )


def race_of(race: bool, confidence: float | None, top: int | None) -> Race | None:
    """The race that the options ask for; None without one."""
    if race:
        return Race(
            confidence=Race.confidence if confidence is None else confidence, top=Race.top if top is None else top
        )
    if confidence is not None or top is not None:
        raise UserError("--confidence and --top are for a race: add --race")
    return None


def cluster_of(engine: Literal["local", "ray"], address: str | None, resources: str | None) -> Cluster | None:
    """The cluster that the options ask for; None without one."""
    if engine == "ray":
        return Cluster(address=address, resources=resources)
    if address is not None or resources is not None:
        raise UserError("--resources and --ray-address are for a cluster: add --engine ray")
    return None
