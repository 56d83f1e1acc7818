"""Start the Space of examples/space as the Hub would, with reports on a Hub of the tests: ``make report-space``.

It needs the package registry, Python of the Space's version and Chromium, so pytest does not collect it. gradio is in
an environment of its own, in which hf_leep is not installed: the Space has the package as files.
"""

import argparse
import copy
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

from hf_leep.report import Report
from tests.hub_server import WRITE_TOKEN, Fault, Hub
from tests.page.__main__ import hostile
from tests.report.conftest import REPORT
from tests.spaces.__main__ import installed, page

ROOT = Path(__file__).parents[2]
DRIVE = Path(__file__).with_name("drive.py")
NOT_A_NAME = "This is not the name of a repository: type OWNER/NAME, or paste an address of the Hub."


def put_together(folder: Path) -> Path:
    """The files of the Space, as its README.md says to upload them."""
    space = folder / "space"
    shutil.rmtree(space, ignore_errors=True)
    unused = shutil.ignore_patterns("__pycache__", "*.pyc")
    shutil.copytree(ROOT / "examples" / "space", space, ignore=unused)
    shutil.copytree(ROOT / "hf_leep", space / "hf_leep", ignore=unused)
    return space


def fill(hub: Hub) -> None:
    """Put reports on a Hub, good ones and bad ones."""
    good, bad = Report(copy.deepcopy(REPORT)).to_bytes(), hostile()
    bad["target"]["dataset"] += "${document.title}{{value}}"
    trap = {"report.html": b"<script>alert(1)</script>", "README.md": b"<script>alert(2)</script>"}
    hub.add("user/ranking", {"report.json": good, **trap}, kind="dataset")
    hub.add("user/as-model", {"report.json": good}, kind="model")
    hub.add("user/hostile", {"report.json": Report(bad).to_bytes(), **trap}, kind="dataset")
    hub.add(
        "user/damaged",
        {"report.json": b'{"schema_version": 1, "target": "<img src=x onerror=alert(3)>"}'},
        kind="dataset",
    )
    hub.add("user/other", {"README.md": b"no report"}, kind="dataset")
    hub.add("user/secret", {"report.json": good}, kind="dataset", private=True)
    hub.add("user/gated", {"report.json": good}, kind="dataset", gated=True)
    hub.add("user/busy", {"report.json": good}, kind="dataset")
    hub.faults.append(Fault("user/busy", status=500))


def cases(url: str) -> list[dict]:
    """What is typed, and what the page has to show."""
    title, unknown = "Which checkpoint to fine-tune for user/flowers", "There is no public data set or model"
    return [
        {"typed": "user/ranking", "title": title},
        {"typed": f" {url}/datasets/user/ranking/tree/main?x=1#y ", "title": title},
        {"typed": "user/as-model", "title": title},
        {"typed": "user/hostile", "title": "Which checkpoint to fine-tune for"},
        {"typed": "user/damaged", "error": "The report.json of user/damaged is damaged"},
        {"typed": "user/other", "error": "user/other has no report.json"},
        {"typed": "user/none", "error": f"{unknown} user/none on the Hub."},
        {"typed": "user/secret", "error": f"{unknown} user/secret on the Hub."},
        {"typed": "user/gated", "error": "user/gated is gated"},
        {"typed": "user/busy", "error": "The Hub answers with the status 500: try again later."},
        *(
            {"typed": typed, "error": NOT_A_NAME}
            for typed in ("../../etc/passwd", "user/..", "<img src=x>", "a b/c", "/")
        ),
    ]


def main() -> None:
    """Use the page, and end with an error where it shows something wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--chromium", default=shutil.which("chromium") or shutil.which("google-chrome"))
    parser.add_argument("--folder", type=Path, default=Path(".spaces"), help="environments, kept for the next time")
    parser.add_argument("--screenshots", type=Path, help="folder for pictures of the page")
    asked = parser.parse_args()
    if asked.chromium is None:
        raise SystemExit("there is no Chromium here: install your system's package, or give --chromium PATH")
    folder = asked.folder.resolve()
    space = put_together(folder / "report")
    card = yaml.safe_load((space / "README.md").read_text(encoding="utf-8").split("---\n")[1])
    needed = (space / "requirements.txt").read_text().split()
    python = installed(
        folder / "report-page", f"python{card['python_version']}", *needed, f"gradio=={card['sdk_version']}"
    )
    driver = installed(folder / "driver", sys.executable, "playwright")
    if asked.screenshots:
        asked.screenshots.mkdir(parents=True, exist_ok=True)
    with Hub() as hub, tempfile.TemporaryDirectory() as home:
        fill(hub)
        # A token that may read everything: the page must not use it.
        settings = {"HF_ENDPOINT": hub.url, "HF_TOKEN": WRITE_TOKEN, "HF_HOME": home, "HF_HUB_OFFLINE": "0"}
        started, url = page(python, space, **settings, HF_HUB_DISABLE_XET="1")
        try:
            order = {"url": url, "chromium": asked.chromium, "cases": cases(hub.url)}
            order["screenshots"] = str(asked.screenshots) if asked.screenshots else None
            driven = subprocess.run([driver, DRIVE], input=json.dumps(order), text=True, timeout=600)
        finally:
            started.terminate()
            started.wait()
        read = [path for path in hub.requested("GET ") if "report.html" in path or "README" in path]
        assert not read, read
    raise SystemExit("the page failed" if driven.returncode else 0)


if __name__ == "__main__":
    main()
