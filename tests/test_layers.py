"""The layers of the design, read from the imports: a file imports only from rows above it."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "hf_leep"

# (file or folder, layer, third-party packages it may import). Files of the ring never import one another.
TABLE = [
    ("__init__.py", 99, set()),  # public names, loaded lazily
    ("errors.py", 0, set()),
    ("arrays.py", 1, {"numpy"}),
    ("measures", 2, {"numpy", "scipy", "sklearn"}),
    ("records.py", 3, {"numpy"}),
    ("placing.py", 3.5, {"numpy", "scipy"}),
    ("ranking.py", 4, {"numpy"}),
    ("notes.py", 4, set()),
    ("parts.py", 4, {"numpy"}),
    ("elimination.py", 5, {"numpy"}),
    ("agreement.py", 5, {"numpy", "scipy"}),
    ("oracles.py", 4, {"numpy", "scipy", "sklearn"}),
    ("verify.py", 5, {"numpy", "scipy", "rich"}),
    ("meaning", 6, {"numpy"}),
    ("card", 6, {"huggingface_hub", "jinja2", "matplotlib", "pyarrow", "rich"}),
    ("contents.py", 7, set()),
    ("report.py", 7.5, set()),
    ("data", "ring", {"numpy", "pyarrow", "datasets", "huggingface_hub"}),
    ("modalities", "ring", {"numpy", "PIL", "av", "scipy", "soundfile", "torch", "transformers"}),
    ("forward", "ring", {"numpy", "torch", "accelerate", "psutil"}),
    ("hub", "ring", {"huggingface_hub", "safetensors", "tqdm"}),
    ("shards.py", "ring", {"numpy"}),
    ("team.py", "ring", {"torch", "accelerate"}),
    ("store.py", "ring", {"numpy", "filelock", "huggingface_hub"}),
    ("metric.py", 9, {"numpy", "datasets", "evaluate", "pyarrow"}),
    ("space.py", 10, {"numpy", "evaluate"}),
    ("publish.py", 9, set()),
    ("certificate.py", 9, set()),
    ("plan.py", 9, set()),
    ("job.py", 10, {"numpy", "torch"}),
    ("recipe.py", 11, set()),
    ("follower.py", 12, {"numpy"}),
    ("engine.py", 12, {"huggingface_hub"}),
    ("race.py", 13, {"numpy"}),
    ("cluster.py", 13, {"ray"}),
    ("pipeline.py", 14, set()),
    (
        "demo.py",
        15,
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
    ("validate.py", 15, {"numpy", "sklearn"}),
    ("cli.py", 16, {"typer", "rich"}),
    ("__main__.py", 17, set()),
]
LAYER = {name: 8 if layer == "ring" else layer for name, layer, _ in TABLE}
ALLOWED = {name: packages for name, _, packages in TABLE}
RING = {name for name, layer, _ in TABLE if layer == "ring"}


def part(path):
    """The row of the table that a file belongs to."""
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


FILES = sorted(PACKAGE.rglob("*.py"))


def test_every_file_has_a_row():
    assert {part(path) for path in FILES} <= set(LAYER)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_only_from_rows_above_and_what_its_row_allows(path):
    import sys

    own = part(path)
    for module in imports(path):
        package, _, rest = module.partition(".")
        if package == "hf_leep":
            name = rest.split(".")[0]
            if name.startswith("__") or not name:
                continue  # __version__
            other = name if name in LAYER else f"{name}.py"
            if own == "__init__.py" or other == own:
                continue
            assert LAYER[other] < LAYER[own], f"{own} imports {other}"
            assert not (own in RING and other in RING), f"{own} and {other} are both in the ring"
        elif package not in sys.stdlib_module_names:
            assert package in ALLOWED[own], f"{own} imports {package}"
