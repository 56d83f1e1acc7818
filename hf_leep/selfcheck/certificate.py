"""Whether this machine computes the measures of a run rightly: their checks, made once and kept in the store."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from functools import cache, partial
from importlib.metadata import version

from hf_leep.measures import SCORE_VERSION
from hf_leep.records import Certificate
from hf_leep.selfcheck.checks import verify
from hf_leep.store import Store

# What the numbers hang on: a change of any means new checks. Machines are told apart: several can share a store.
_PACKAGES = ("numpy", "scipy", "scikit-learn")


def certificate(names: Sequence[str], store: Store) -> Certificate:
    """Check measures as ``hf-leep verify`` does, in a second or two, where that was not done on this machine before.

    Args:
        names: the measures.
        store: where it is remembered.
    """
    machine = {
        **{name: version(name) for name in _PACKAGES},
        "hf-leep": f"{version('hf-leep')}-v{SCORE_VERSION}",
        "python": platform.python_version(),
        "machine": f"{platform.node()} {platform.machine()} {platform.processor()}",
    }
    num_checks, failed, unchecked = 0, [], []
    for name in names:
        found = store.checks(Store.key({**machine, "measure": name}), partial(_checked, name))
        num_checks += len(found)
        failed += [f"{name}: {claim}" for claim, passed in found if not passed]
        unchecked += [] if found else [name]
    return Certificate(num_checks, tuple(failed), tuple(unchecked))


@cache  # in one process the answer stays the same, whichever stores it is kept in
def _checked(name: str) -> list[list[object]]:
    return [[check.claim, check.passed] for check in verify(names=[name])]
