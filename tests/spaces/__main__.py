"""Push each metric to a Hub, install its Space as the Hub would, and use its page in Chromium: ``make spaces``.

It needs the package registry, Python of the Spaces' version and Chromium, so pytest does not collect it. gradio and
playwright are in environments of their own: gradio holds back Pillow, with which the tests decode images.
"""

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import numpy as np
import yaml

from hf_leep import measures
from hf_leep.evaluate_module import names
from tests.hub_server import WRITE_TOKEN, Hub

DRIVE = Path(__file__).with_name("drive.py")
ELSEWHERE = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "PYTHON"))}
STARTING = 180  # seconds that a page may take to start


def pushed(folder: Path) -> dict[str, Path]:
    """Module → the files of its Space, from a Hub to which ``hf-leep push-metric`` has pushed it."""
    with Hub() as hub, tempfile.TemporaryDirectory() as home:
        environment = {**os.environ, "HF_ENDPOINT": hub.url, "HF_TOKEN": WRITE_TOKEN, "HF_HOME": home}
        environment.pop("HF_HUB_OFFLINE", None)
        for name in names():
            command = ["push-metric", f"user/{name.replace('-', '_')}", "--metric", name]
            subprocess.run([sys.executable, "-m", "hf_leep", *command], env=environment, check=True)
        spaces = {repo_id.removeprefix("user/"): repo for (_, repo_id), repo in hub.repos.items()}
    for module, repo in spaces.items():
        for path, content in repo.files("main").items():
            file = folder / module / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
    return {module: folder / module for module in spaces}


def installed(folder: Path, python: str, *packages: str) -> Path:
    """The Python of an environment with these packages and nothing else; what is there from before is kept."""
    executable = folder / "bin" / "python"
    if not executable.exists():
        subprocess.run([python, "-m", "venv", folder], check=True)
    subprocess.run([executable, "-m", "pip", "install", "--quiet", *packages], check=True)
    return executable


def cases(module: str, folder: Path) -> list[dict]:
    """What is typed into a page, and what it has to show."""
    measure = measures.find(module)
    rng = np.random.default_rng(3)
    labels, logits = rng.integers(0, 3, 30), np.round(rng.normal(size=(30, 4)), 3)
    logits[np.arange(30), labels] += 1
    animals = [("a cat", "a dog", "an owl")[label] for label in labels]
    theta = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    first = [[0.9, 0.1], [0.8, 0.2], [0.2, 0.8], [0.3, 0.7]]
    typed = "\n".join(" ".join(map(str, row)) for row in logits)
    rows = theta if measure.needs == "probabilities" else logits
    np.save(folder / "rows.npy", rows[:20])
    return [
        {"what": "as it opens", "value": measure.function(first, [0, 0, 1, 1])},
        {"what": "an error in place", "rows": "0.9 0.1\n0.2", "labels": "0 1", "error": "rows have different lengths"},
        {
            "what": "labels that are names",
            "rows": typed,
            "labels": "\n".join(animals),
            "logits": measure.needs == "probabilities",
            "value": measure.function(rows, labels),
        },
        {
            "what": "an uploaded file",
            "file": str(folder / "rows.npy"),
            "labels": ", ".join(animals[:20]),
            "value": measure.function(rows[:20], labels[:20]),
        },
    ]


def page(python: Path, folder: Path, **settings: str) -> tuple[subprocess.Popen, str]:
    """Start a Space's page, as the Hub does, and wait until it answers; settings are variables of its environment."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(folder.parent / "home"), **settings}
    settings |= {"GRADIO_SERVER_PORT": str(port), "GRADIO_ANALYTICS_ENABLED": "False"}
    started = subprocess.Popen([python, "app.py"], cwd=folder, env={**ELSEWHERE, **settings})
    url = f"http://127.0.0.1:{port}/"
    until = time.monotonic() + STARTING
    while time.monotonic() < until and started.poll() is None:
        try:
            urllib.request.urlopen(url, timeout=10).close()
        except OSError:
            time.sleep(0.5)
        else:
            return started, url
    started.kill()
    raise SystemExit(f"the page of {folder.name} did not start in {STARTING} s")


def main() -> None:
    """Use every page, and end with an error where one of them shows something wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--chromium", default=shutil.which("chromium") or shutil.which("google-chrome"))
    parser.add_argument("--folder", type=Path, default=Path(".spaces"), help="environments, kept for the next time")
    parser.add_argument("--screenshots", type=Path, help="folder for a picture of each page")
    asked = parser.parse_args()
    if asked.chromium is None:
        raise SystemExit("there is no Chromium here: install your system's package, or give --chromium PATH")
    folder = asked.folder.resolve()
    shutil.rmtree(folder / "pushed", ignore_errors=True)
    spaces = pushed(folder / "pushed")
    cards = [(space / "README.md").read_text(encoding="utf-8").split("---\n")[1] for space in spaces.values()]
    ((version, gradio),) = {(c["python_version"], c["sdk_version"]) for c in map(yaml.safe_load, cards)}
    requirements = {(space / "requirements.txt").read_text() for space in spaces.values()}
    (needed,) = requirements
    space_python = installed(folder / "page", f"python{version}", *needed.split(), f"gradio=={gradio}")
    absent = subprocess.run(
        [space_python, "-c", "import hf_leep"], cwd=folder, env=ELSEWHERE, capture_output=True
    ).returncode
    assert absent, "hf_leep is installed in the environment of the page"
    driver = installed(folder / "driver", sys.executable, "playwright")
    failures = 0
    for module, space in spaces.items():
        started, url = page(space_python, space)
        try:
            order = {"url": url, "chromium": asked.chromium, "cases": cases(module, space), "module": module}
            order |= {"title": measures.find(module).title, "screenshot": None}
            if asked.screenshots:
                asked.screenshots.mkdir(parents=True, exist_ok=True)
                order["screenshot"] = str(asked.screenshots / f"{module}.png")
            driven = subprocess.run([driver, DRIVE], input=json.dumps(order), text=True, timeout=300)
            failures += driven.returncode != 0
        finally:
            started.terminate()
            started.wait()
    raise SystemExit(f"{failures} of {len(spaces)} pages failed" if failures else 0)


if __name__ == "__main__":
    main()
