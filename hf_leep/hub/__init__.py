"""The Hugging Face Hub: find candidates, download them at a fixed revision, push reports."""

from hf_leep.hub.client import Client
from hf_leep.hub.download import Peek, configuration, evict, fetch, peek
from hf_leep.hub.pace import say_waited
from hf_leep.hub.prefetch import Prefetcher, fetch_within
from hf_leep.hub.proposal import Proposal, propose
from hf_leep.hub.push import Committed, address, check_destination, check_repo_id, commit
from hf_leep.hub.search import check_collection, collection, search
from hf_leep.hub.session import within_limits
from hf_leep.hub.snapshot import RepoId, Snapshot, resolve
from hf_leep.hub.target import pin_dataset

__all__ = [
    "Client",
    "Committed",
    "Peek",
    "Prefetcher",
    "Proposal",
    "RepoId",
    "Snapshot",
    "address",
    "check_collection",
    "check_destination",
    "check_repo_id",
    "collection",
    "commit",
    "configuration",
    "evict",
    "fetch",
    "fetch_within",
    "peek",
    "pin_dataset",
    "propose",
    "resolve",
    "say_waited",
    "search",
    "within_limits",
]
