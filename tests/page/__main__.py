"""Open report.html in Chromium and use it as a visitor does: ``make page``.

It needs the package registry and Chromium, so pytest does not collect it. playwright is in an environment of its own.
"""

import argparse
import copy
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from hf_leep.report import Report
from tests.report.conftest import REPORT
from tests.report.html.test_page import HOSTILE

DRIVE = Path(__file__).with_name("drive.py")


def driver(folder: Path) -> Path:
    """The Python of an environment with playwright; what is there from before is kept."""
    executable = folder / "bin" / "python"
    if not executable.exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    subprocess.run([executable, "-m", "pip", "install", "--quiet", "playwright"], check=True)
    return executable


def hostile() -> dict:
    """The report of the tests, with names that try to be markup."""
    data = copy.deepcopy(REPORT)
    data["target"]["dataset"] += HOSTILE
    for candidate in data["candidates"]:
        candidate["id"] += HOSTILE
        candidate["notes"] = [*candidate["notes"], HOSTILE]
        for found in (candidate["explanation"] or {}).get("classes", []):
            found["name"] += HOSTILE
    return data


def main() -> None:
    """Use the page of each report, and end with an error where one of them does something wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--chromium", default=shutil.which("chromium") or shutil.which("google-chrome"))
    parser.add_argument("--driver", type=Path, default=Path(".spaces/driver"), help="environment, kept for next time")
    parser.add_argument("--screenshots", type=Path, help="folder for pictures of each page")
    parser.add_argument("--report", type=Path, action="append", default=[], help="folder of a report to open as well")
    asked = parser.parse_args()
    if asked.chromium is None:
        raise SystemExit("there is no Chromium here: install your system's package, or give --chromium PATH")
    python = driver(asked.driver.resolve())
    reports = {"plain": Report(copy.deepcopy(REPORT)), "hostile": Report(hostile())}
    reports |= {folder.name: Report.load(folder) for folder in asked.report}
    failures = 0
    with tempfile.TemporaryDirectory() as folder:
        for name, report in reports.items():
            page = report.save(Path(folder) / name) / "report.html"
            order = {"url": page.as_uri(), "chromium": asked.chromium, "report": name, "screenshots": None}
            order["candidates"] = sum(candidate["rank"] is not None for candidate in report.candidates)
            if asked.screenshots:
                asked.screenshots.mkdir(parents=True, exist_ok=True)
                order["screenshots"] = str(asked.screenshots)
            driven = subprocess.run([python, DRIVE], input=json.dumps(order), text=True, timeout=300)
            failures += driven.returncode != 0
    raise SystemExit(f"{failures} of {len(reports)} pages failed" if failures else 0)


if __name__ == "__main__":
    main()
