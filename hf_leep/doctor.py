"""What this machine has that a run may need: versions, device, caches, login, extras, the Hub."""

from __future__ import annotations

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from urllib.parse import urlsplit, urlunsplit

from hf_leep.errors import one_line

_PACKAGES = ("torch", "transformers", "datasets", "accelerate", "evaluate", "huggingface-hub", "numpy", "scipy")
_EXTRAS = {
    "audio": ("soundfile",),
    "video": ("av",),
    "timm": ("timm",),
    "ray": ("ray",),
}  # extra → the packages that it installs
_SECONDS = 10  # to wait for the Hub


def findings() -> dict[str, str]:
    """Look at the machine; no secret is part of what is found."""
    return {
        "hf_leep": _version("hf-leep"),
        "Python": f"{platform.python_version()} ({sys.platform}, {platform.machine()})",
        **{name: _version(name) for name in _PACKAGES},
        "device": _device(),
        "cores": str(os.cpu_count()),
        **_caches(),
        "token": _token(),
        "Hub": _hub(),
        **{f"extra {name}": _extra(name, packages) for name, packages in _EXTRAS.items()},
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _extra(name: str, packages: tuple[str, ...]) -> str:
    found = [f"{package} {_version(package)}" for package in packages]
    missing = any("not installed" in package for package in found)
    return f'not installed: pip install "hf-leep[{name}]"' if missing else ", ".join(found)


def _device() -> str:
    from hf_leep.inference.forward import device_names

    return ", ".join(device_names())


def _caches() -> dict[str, str]:
    from huggingface_hub import constants

    from hf_leep.store import Store
    from hf_leep.text import size

    store = Store(Store.default_root())
    usage = store.usage()
    kept = "cannot be used" if usage.root is None else f"{size(sum(usage.num_bytes.values()))} kept"
    return {"store": f"{Store.default_root()} ({kept})", "Hugging Face cache": constants.HF_HUB_CACHE}


def _token() -> str:
    from huggingface_hub import get_token

    try:
        token = get_token()
    except (OSError, ValueError) as error:  # its file, such as one below HF_HOME where that is no folder
        return f"cannot be read ({one_line(error)})"
    return "found" if token else "none: only public repositories can be read (hf auth login)"


def _hub() -> str:
    from huggingface_hub import constants
    from huggingface_hub.utils import get_session

    if constants.HF_HUB_OFFLINE:
        return "not asked: HF_HUB_OFFLINE is set"
    parts = urlsplit(constants.ENDPOINT)
    address = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))  # without a password
    try:
        get_session().get(constants.ENDPOINT, timeout=_SECONDS)
    except Exception as error:  # whatever the client raises, the answer is the same
        return f"{address} cannot be reached: {type(error).__name__}"
    return f"{address} answers"
