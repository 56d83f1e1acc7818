"""What the test Hub (hub_server.py) enforces as the real one does: limits of requests, and the metadata of cards."""

import math
import re
import threading
import time

import yaml

# What the Hub grants in five minutes: requests without a token, and those of a free account.
ANONYMOUS = {"api": 500, "resolvers": 3000}
ACCOUNT = {"api": 1000, "resolvers": 5000}

_LICENSES = {"apache-2.0", "mit", "bsd-3-clause", "cc-by-4.0", "cc0-1.0", "openrail", "other", "unknown"}
_SIZES = {"n<1K", "1K<n<10K", "10K<n<100K", "100K<n<1M", "1M<n<10M", "10M<n<100M", "100M<n<1B", "1B<n<10B"}
_COLOURS = {"red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"}


class Limits:
    """The requests that each token may make in a fixed window, for the API and for files apart.

    Args:
        limits: the number of requests of each kind; by default those of the Hub.
        window: length of the window in seconds.
    """

    def __init__(self, limits=None, window=300.0):
        self.limits, self.window = limits, window
        self._lock = threading.Lock()
        self._used = {}  # (token, kind) → start of the window, requests in it

    def check(self, path, token):
        """Count a request; return whether it may pass, and the headers that say how many are left."""
        kind = "resolvers" if "/resolve/" in path else "api" if path.startswith("/api/") else None
        limit = (self.limits or (ACCOUNT if token else ANONYMOUS)).get(kind)
        if limit is None:
            return True, {}
        now = time.monotonic()
        with self._lock:
            start, used = self._used.get((token, kind), (now, 0))
            if now - start >= self.window:
                start, used = now, 0
            allowed = used < limit
            used += allowed
            self._used[token, kind] = start, used
        left = math.ceil(start + self.window - now)
        return allowed, {
            "RateLimit": f'"{kind}";r={limit - used};t={left}',
            "RateLimit-Policy": f'"fixed window";"{kind}";q={limit};w={math.ceil(self.window)}',
        }


def card_errors(content, kind):
    """What the Hub does not accept in the metadata of a card: a list of messages."""
    found = re.match(r"---\r?\n(.*?)\r?\n---", content, re.DOTALL)
    if found is None:
        return []
    try:
        data = yaml.safe_load(found[1])
    except yaml.YAMLError as error:
        return [f"bad indentation or syntax of the metadata: {error}"]
    if not isinstance(data, dict):
        return ["the metadata must be an object"]
    errors = []

    def check(key, allowed):
        values = data.get(key, [])
        for value in values if isinstance(values, list) else [values]:
            if value not in allowed:
                errors.append(f'"{key}" must be one of [{", ".join(sorted(allowed))}]')

    check("license", _LICENSES)
    check("size_categories", _SIZES)
    if kind == "space":
        check("colorFrom", _COLOURS)
        check("colorTo", _COLOURS)
        check("sdk", {"gradio", "docker", "static"})
        if len(str(data.get("short_description", ""))) > 60:
            errors.append('"short_description" length must be less than or equal to 60 characters long')
    for entry in data.get("model-index") or []:
        if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
            errors.append('"model-index[0].name" must be a string')
        for result in (entry.get("results") or []) if isinstance(entry, dict) else []:
            for metric in result.get("metrics") or []:
                if "type" not in metric or "value" not in metric:
                    errors.append('"model-index[0].results[0].metrics[0]" needs a type and a value')
    return errors
