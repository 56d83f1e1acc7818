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

import datasets
import numpy as np
from PIL import Image

from hf_leep.data.rows import Rows
from hf_leep.data.thumbnails import thumbnails
from hf_leep.report import Report
from hf_leep.report.html.sections import sections
from hf_leep.report.thumbnails import shown_rows
from tests.report.card.test_fine_tuning import IDS, row, with_rows
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


def lengthy() -> dict:
    """The report of the tests with long names without spaces, many tie letters, long scores and a long heading."""
    data = copy.deepcopy(REPORT)
    data["measure_details"]["leep"]["title"] = "ridge log-likelihood"
    names = ("mobilenet_v1_0.25_224_imagenet_float" * 3, "x" * 200, "organisation/" + "a-long-name-" * 12)
    for candidate, name in zip(data["candidates"], names, strict=False):
        candidate.update(id=name, revision="sha256:0", tie_letters="abcefghijklmnopqrsvw")
        candidate["scores"]["leep"]["value"] -= 1234.5
    return data


def estimate(value: float, half: float) -> dict:
    return {"value": value, "standard_error": half / 1.96, "half_width": half}


def with_heads(data: dict, ids: tuple[str, ...]) -> dict:
    """A report to which the accuracies of trained heads are added."""
    tau = {"num_candidates": 3, "kendall": 0.33, "kendall_interval": None, "kendall_p_value": 1.0, "pearson": 0.8}
    tau |= {"pearson_interval": None, "pearson_p_value": 0.4, "weighted_tau": 0.5, "weighted_tau_by_accuracy": 0.4}
    heads = [
        {
            "id": one,
            "revision": None,
            "rank": k + 1,
            "reason": None if k < 2 else "out of memory",
            "accuracy": estimate(0.8 + k / 50, 0.01) if k < 2 else None,
            "place": 2 - k if k < 2 else None,
            "behind_best": estimate(0.02 - k / 50, 0.012) if k < 2 else None,
        }
        for k, one in enumerate(ids)
    ]
    return {
        **data,
        "validation": {
            "judged_by": "accuracy of a linear head",
            "top": 3,
            "asked": None,
            "num_ranked": 3,
            "candidates": heads,
            "agreement": {"leep": tau},
            "pairs": {"told_apart": 2, "confirmed": 1, "contradicted": 0, "open": 1},
        },
    }


def whole() -> Report:
    """A report with all that one can have: a race, trained heads, fine-tuning and thumbnails."""
    data = with_heads(copy.deepcopy(REPORT), IDS)
    data = with_rows(data, row(0, 1, 0.9, (0.0, 0.0)), row(1, 2, 0.89, (0.01, 0.015)), row(2, 3, in_round=(0.2, 0.05)))
    looks = {"looks": [313, 625, 1250, 2500], "num_examples_run": 5313, "num_examples_of_all": 7500}
    data["race"] = {"confidence": 0.95, "top": 1, "decided_by": "leave-one-out-leep", "level": 0.0083, **looks}
    stopped = {"look": 0, "behind": "small/resnet", "gap": 0.731, "margin": 0.12}
    data["candidates"][2] |= {"num_examples": 313, "stopped": stopped, "probability_best": None}
    rows = shown_rows(data)
    noise = np.random.default_rng(0).integers(0, 256, (len(rows), 48, 64, 3), dtype=np.uint8)
    images = datasets.Dataset.from_dict({"image": list(map(Image.fromarray, noise))})
    drawn = thumbnails(Rows(images, np.arange(len(rows))), range(len(rows)))
    return Report(data, dict(zip(rows, drawn.values(), strict=True)))


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
    reports = {
        "plain": Report(copy.deepcopy(REPORT)),
        "hostile": Report(hostile()),
        "lengthy": Report(lengthy()),
        "whole": whole(),
    }
    reports |= {folder.name: Report.load(folder) for folder in asked.report}
    failures = 0
    with tempfile.TemporaryDirectory() as folder:
        for name, report in reports.items():
            page = report.save(Path(folder) / name) / "report.html"
            order = {"url": page.as_uri(), "chromium": asked.chromium, "report": name, "screenshots": None}
            order["thumbnails"] = bool(report.thumbnails)
            order["sections"] = [section.title for section in sections(report.data)]
            order["candidates"] = sum(candidate["rank"] is not None for candidate in report.candidates)
            if asked.screenshots:
                asked.screenshots.mkdir(parents=True, exist_ok=True)
                order["screenshots"] = str(asked.screenshots)
            driven = subprocess.run([python, DRIVE], input=json.dumps(order), text=True, timeout=300)
            failures += driven.returncode != 0
    raise SystemExit(f"{failures} of {len(reports)} pages failed" if failures else 0)


if __name__ == "__main__":
    main()
