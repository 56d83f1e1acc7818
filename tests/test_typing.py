"""What a type checker says of user code, and of the command line's own calls."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# What these libraries are typed as does not matter here, and reading them would take a minute.
CONFIG = """
[mypy]
python_version = 3.11
strict = true
incremental = false
ignore_missing_imports = true
disallow_untyped_decorators = false
disallow_subclassing_any = false
warn_return_any = false
warn_unused_ignores = false
"""
SKIPPED = [
    "PIL",
    "accelerate",
    "av",
    "datasets",
    "evaluate",
    "filelock",
    "huggingface_hub",
    "jinja2",
    "matplotlib",
    "numpy",
    "psutil",
    "pyarrow",
    "ray",
    "rich",
    "safetensors",
    "scipy",
    "sklearn",
    "soundfile",
    "threadpoolctl",
    "torch",
    "tqdm",
    "transformers",
    "typer",
    "yaml",
]

RIGHT = """
from pathlib import Path
import hf_leep
from hf_leep import Cluster, Execution, HubAccess, Plan, Race, Report, Search, measures

names: list[str] = ["user/one", "user/two"]
report: Report = hf_leep.rank(names, "user/data", split="train", max_samples=1000, seed=1)
report = hf_leep.rank(("a", Path("b")), Path("data"), measures=["leep", "logme"], sort_by="auto", input=["a", "b"])
report = hf_leep.rank(
    [],
    "user/data",
    execution=Execution(batch_size=8, device="cuda", dtype="bfloat16", compile=True, cache=False),
    hub=HubAccess(token=False, cache_dir="cache", allow_pickle=True, max_download="20GB", prefetch=2, evict=True),
    search=Search(text="vit", task="image-classification", max_params=10**8, limit=5, sort="likes"),
    collection="owner/title-id",
    race=Race(confidence=0.9, top=3),
    on_plan=print,
    progress=False,
)
report = hf_leep.rank(names, "d", cluster=Cluster(address="host:6379", resources="cpus=2"))
plan: Plan = hf_leep.plan(names, "d", split="train", hub=HubAccess(max_download=10**9))
num_bytes: int = plan.data["candidates"][0]["download_bytes"]
report = hf_leep.validate(hf_leep.Report.load("report"), top=5, device="cpu")
url: str = hf_leep.push(report, "user/ranking", repo_type="dataset").url
path: str = hf_leep.metric_path("leep")
version: str = hf_leep.__version__
measure = measures.MEASURES["leep"]
"""

WRONG = [
    'hf_leep.rank(["a"], "b", max_sampels=3)',
    'hf_leep.rank(["a"], "b", split=3)',
    'hf_leep.rank(["a"], "b", seed="0")',
    'hf_leep.rank(["a"], "b", max_samples="100")',
    'hf_leep.rank([1], "b")',
    'hf_leep.rank(["a"], "b", dry_run=True)',
    'hf_leep.rank(["a"], "b", batch_size=8)',
    'hf_leep.rank(["a"], "b", race=True)',
    'hf_leep.rank(["a"], "b", confidence=0.9)',
    'hf_leep.rank(["a"], "b", resources="cpus=1")',
    'hf_leep.rank(["a"], "b", execution=hf_leep.Race())',
    'hf_leep.plan(["a"], "b", max_sampels=3)',
    'hf_leep.plan(["a"], "b", split=3)',
    "hf_leep.Execution(batchsize=8)",
    'hf_leep.Execution(batch_size="8")',
    'hf_leep.Execution(device="gpu")',
    'hf_leep.Execution(dtype="int8")',
    'hf_leep.HubAccess(max_downloads="1GB")',
    "hf_leep.HubAccess(max_download=[1])",
    'hf_leep.Search(name="vit")',
    'hf_leep.Search(limit="5")',
    'hf_leep.Search(sort="size")',
    "hf_leep.Race(confidense=0.9)",
    'hf_leep.Race(confidence="high")',
    'hf_leep.Cluster(adress="host")',
    "hf_leep.Cluster(resources=2)",
    'hf_leep.validate(hf_leep.Report.load("r"), tops=3)',
    'hf_leep.validate(hf_leep.Report.load("r"), device="gpu")',
    'hf_leep.push("r", "user/name", repo_type="space")',
    'hf_leep.rnak(["a"], "b")',
]

# Replacements in the file of the command line's own calls, each of which must be an error.
BROKEN_CALLS = [
    ("            max_samples=max_samples,", "            max_sampels=max_samples,"),  # of plan
    ("\n        max_samples=max_samples,", "\n        max_sampels=max_samples,"),  # of rank
    ("\n        split=split,", "\n        split=seed,"),
    ("execution=execution,", "execution=hub,"),
    ("Execution(\n        batch_size=batch_size,", "Execution(\n        batchsize=batch_size,"),
    ("race_of(race, confidence, top)", "race_of(race, resources, top)"),
]


@pytest.fixture(scope="module")
def errors(tmp_path_factory):
    """The errors of all files, from one run of mypy: file name → {line → message}."""
    folder = tmp_path_factory.mktemp("typing")
    (folder / "right.py").write_text(RIGHT)
    (folder / "wrong.py").write_text("import hf_leep\n" + "\n".join(WRONG) + "\n")
    command = (ROOT / "hf_leep" / "cli" / "rank.py").read_text()
    (folder / "command.py").write_text(command)
    for number, (old, new) in enumerate(BROKEN_CALLS):
        assert old in command
        (folder / f"broken_{number}.py").write_text(command.replace(old, new))
    skipped = "".join(f"[mypy-{name}.*]\nfollow_imports = skip\n" for name in SKIPPED)
    (folder / "mypy.ini").write_text(CONFIG + f"mypy_path = {ROOT}\n" + skipped)
    files = sorted(path.name for path in folder.glob("*.py"))
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file", "mypy.ini", "--cache-dir", "/dev/null", *files],
        capture_output=True,
        text=True,
        cwd=folder,
    )
    assert not done.stderr, done.stderr
    found = {name: {} for name in files}
    for name, line, message in re.findall(r"^(\w+\.py):(\d+): error: (.*)$", done.stdout, flags=re.MULTILINE):
        found[name].setdefault(int(line), message)
    return found


def test_right_calls_pass(errors):
    assert errors["right.py"] == {}


@pytest.mark.parametrize("number", range(len(WRONG)), ids=WRONG)
def test_a_wrong_call_is_an_error(errors, number):
    assert number + 2 in errors["wrong.py"]


def test_every_wrong_line_is_wrong_for_its_own_reason(errors):
    """Nothing else is an error, and none because a name does not exist but the one that is misspelt."""
    assert len(errors["wrong.py"]) == len(WRONG)
    unknown = [line for line, message in errors["wrong.py"].items() if "has no attribute" in message]
    assert unknown == [WRONG.index('hf_leep.rnak(["a"], "b")') + 2]


def test_the_command_line_passes(errors):
    assert errors["command.py"] == {}


@pytest.mark.parametrize("number", range(len(BROKEN_CALLS)))
def test_a_broken_call_of_the_command_line_is_an_error(errors, number):
    assert errors[f"broken_{number}.py"]
