"""A metric's folder → the files of its Space, which needs no hf_leep.

evaluate fetches a module and the files beside it that the module imports, one level deep. So what a metric needs of
hf_leep is put into one file, whose modules are found only where hf_leep is not installed.
"""

from __future__ import annotations

import ast
from pathlib import Path

_NAME = "hf_leep_light"
_PARTS = ("__init__.py", "errors.py", "text.py", "arrays.py", "measures", "evaluate_module")  # of the package
_METRIC = "import hf_leep.evaluate_module.metric  # From: hf-leep\n"
_PAGE = "import hf_leep.evaluate_module.space\n"

_FILE = '''"""What the metric beside this file needs of hf_leep {version}; an installed one is used instead.

Made by ``hf-leep push-metric``: to change it, change hf_leep and push again.
"""

import importlib.abc
import importlib.util
import sys

if sys.version_info < (3, 11):
    raise ImportError(f"this metric needs Python 3.11 or newer, and this is {{sys.version.split()[0]}}")

SOURCES = {{
{sources}}}


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.InspectLoader):
    """Import modules from `SOURCES`."""

    def find_spec(self, fullname, path=None, target=None):
        file = self._file(fullname)
        if file not in SOURCES:
            return None
        package = file.endswith("/__init__.py")
        return importlib.util.spec_from_loader(fullname, self, origin=f"{{__file__}}/{{file}}", is_package=package)

    def get_source(self, fullname):
        return SOURCES[self._file(fullname)]

    def get_code(self, fullname):
        return compile(self.get_source(fullname), f"{{__file__}}/{{self._file(fullname)}}", "exec", dont_inherit=True)

    def is_package(self, fullname):
        return self._file(fullname).endswith("/__init__.py")

    @staticmethod
    def _file(fullname):
        path = fullname.replace(".", "/")
        package = f"{{path}}/__init__.py"
        return package if package in SOURCES else f"{{path}}.py"


sys.meta_path.append(_Finder())  # behind the finders of installed packages

import hf_leep.evaluate_module.metric  # noqa: E402
'''


def space_files(folder: Path, repo_id: str, version: str) -> dict[str, bytes]:
    """Return the files of a metric's Space: those of its folder, and what they need of hf_leep as one module.

    Args:
        folder: the metric's folder, from `hf_leep.metric_path`.
        repo_id: the Space, OWNER/NAME, which its card names.
        version: that of hf_leep.

    Returns:
        Path in the Space → content.
    """
    files = {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}
    replaced = {
        # scipy, so that evaluate names it where it is missing.
        "README.md": (f"OWNER/{folder.name}", repo_id),
        f"{folder.name}.py": (_METRIC, f"import scipy\n\nfrom .{_NAME} import hf_leep\n"),
        "app.py": (_PAGE, f"import {_NAME}\nimport hf_leep.evaluate_module.space\n"),
    }
    for name, (found, instead) in replaced.items():
        before, found, after = files[name].decode().partition(found)
        if not found:
            raise AssertionError(f"{folder / name} has been changed: bundle.py no longer finds what it replaces there")
        files[name] = f"{before}{instead}{after}".encode()
    files[f"{_NAME}.py"] = _bundle(version).encode()
    return files


def _bundle(version: str) -> str:
    """The source of the module that holds those of hf_leep."""
    package = Path(__file__).parents[1]
    paths = [path for part in _PARTS for path in sorted((package / part).rglob("*.py")) or [package / part]]
    sources = ""
    for path in paths:
        if path != Path(__file__):
            name = path.relative_to(package.parent).as_posix()
            sources += f"    {name!r}: {_literal(path.read_text(encoding='utf-8'))},\n"
    return _FILE.format(version=version, sources=sources)


def _literal(text: str) -> str:
    """Python's spelling of a text, over many lines where that says the same."""
    readable = f"r'''{text}'''"
    try:
        return readable if ast.literal_eval(readable) == text else repr(text)
    except (SyntaxError, ValueError):
        return repr(text)
