"""The Hub: find candidates, pin and bring them, push reports."""

from hf_leep.hub.client import Client
from hf_leep.hub.prefetch import Prefetcher
from hf_leep.hub.push import Committed, Proposal, check_place, check_repo_id, commit, propose
from hf_leep.hub.search import collection, search
from hf_leep.hub.snapshot import Peek, RepoId, Snapshot, configuration, evict, fetch, peek, resolve
from hf_leep.hub.target import pin_dataset

__all__ = [
    "Client",
    "Committed",
    "Peek",
    "Prefetcher",
    "Proposal",
    "RepoId",
    "Snapshot",
    "check_place",
    "check_repo_id",
    "collection",
    "commit",
    "configuration",
    "evict",
    "fetch",
    "peek",
    "pin_dataset",
    "propose",
    "resolve",
    "search",
]
