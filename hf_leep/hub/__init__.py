"""The Hub: find candidates, pin and bring them."""

from hf_leep.hub.client import Client
from hf_leep.hub.snapshot import Peek, Snapshot, evict, fetch, peek, resolve

__all__ = ["Client", "Peek", "Snapshot", "evict", "fetch", "peek", "resolve"]
