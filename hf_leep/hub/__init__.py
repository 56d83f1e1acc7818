"""The Hub: find candidates, pin and bring them."""

from hf_leep.hub.client import Client
from hf_leep.hub.snapshot import Peek, Snapshot, evict, fetch, peek, resolve
from hf_leep.hub.target import pin_dataset

__all__ = ["Client", "Peek", "Snapshot", "evict", "fetch", "peek", "pin_dataset", "resolve"]
