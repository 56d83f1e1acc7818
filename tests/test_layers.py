"""The layers of the design, read from the imports: a room imports only from rooms above it in the table."""

import ast
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "hf_leep"

# Room → its layer, and the third-party packages that it may import. Rooms of one layer never import one another.
TABLE = {
    "errors.py": (0, set()),
    "text.py": (1, set()),
    "temporary.py": (1, {"psutil"}),
    "options.py": (2, set()),
    "arrays.py": (3, {"numpy"}),
    "records": (4, {"numpy"}),
    "measures": (5, {"numpy", "scipy", "sklearn"}),
    "ranking": (6, {"numpy", "scipy"}),
    "explain": (7, {"numpy"}),
    "report": (
        8,
        {
            "huggingface_hub",
            "jinja2",
            "matplotlib",
            "pyarrow",
            "rich",
            "annotated_types",
            "pydantic",
            "typing_extensions",
        },
    ),
    "data": (9, {"numpy", "PIL", "pyarrow", "datasets", "huggingface_hub"}),
    "models": (9, {"numpy", "PIL", "datasets", "av", "safetensors", "scipy", "soundfile", "torch", "transformers"}),
    "hub": (9, {"huggingface_hub", "httpx2", "safetensors", "tqdm", "yaml"}),
    "store": (9, {"numpy", "filelock", "huggingface_hub"}),
    "modalities.py": (10, set()),
    "inference": (10, {"numpy", "torch", "accelerate", "psutil", "PIL"}),
    "runs": (11, {"numpy", "scipy", "torch", "huggingface_hub", "ray", "threadpoolctl"}),
    "selfcheck": (12, {"numpy", "scipy", "sklearn", "rich"}),
    "evaluate_module": (13, {"numpy", "datasets", "evaluate", "pyarrow"}),
    "training": (14, {"numpy", "torch", "accelerate", "rich", "huggingface_hub"}),
    "api.py": (15, set()),
    "validation.py": (16, {"numpy"}),
    "publish": (17, set()),
    "demo.py": (
        18,
        {
            "numpy",
            "torch",
            "transformers",
            "datasets",
            "sklearn",
            "huggingface_hub",
            "rich",
            "PIL",
            "tqdm",
            "threadpoolctl",
        },
    ),
    "doctor.py": (18, {"huggingface_hub"}),
    "cli": (19, {"typer", "rich"}),
    "__main__.py": (20, set()),
}
OUTSIDE = "__init__.py"  # hands out names: it imports rooms, lazily, and no room imports it
ONLY_IN = {"ray": "runs/ray_engine.py"}
FILES = sorted(PACKAGE.rglob("*.py"))


def room(path):
    return path.relative_to(PACKAGE).parts[0]


def imports(path):
    """Every module that a file imports, inside functions too, but not for type checking alone."""
    tree = ast.parse(path.read_text())
    typing_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and getattr(node.test, "id", None) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            if node.module == "hf_leep":
                yield from (f"hf_leep.{alias.name}" for alias in node.names)
            else:
                yield node.module


def test_the_table_lists_every_room_and_few():
    entries = {path.name for path in PACKAGE.iterdir() if path.name not in ("__pycache__", "metric_card")}
    assert {name for name in entries if name.endswith(".py") or (PACKAGE / name).is_dir()} <= {*TABLE, OUTSIDE}
    assert len(entries) <= 29, sorted(entries)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_only_from_rooms_above_and_what_its_room_allows(path):
    own = room(path)
    if own == OUTSIDE:
        return
    layer, allowed = TABLE[own]
    for module in imports(path):
        package, _, rest = module.partition(".")
        if package == "hf_leep":
            name = rest.split(".")[0]
            other = name if name in TABLE else f"{name}.py"
            assert other in TABLE, f"{own} imports {module}: {OUTSIDE} is imported by no room"
            assert other == own or TABLE[other][0] < layer, f"{own} imports {other}"
        elif package not in sys.stdlib_module_names:
            assert package in allowed, f"{own} imports {package}"
            assert package not in ONLY_IN or ONLY_IN[package] == str(path.relative_to(PACKAGE)), f"{path}: {package}"
