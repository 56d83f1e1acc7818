"""The report: plain data, a folder of files made from it, and back."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hf_leep.errors import UserError, one_line, option
from hf_leep.report import card
from hf_leep.report.builder import SCHEMA_VERSION


@dataclass(frozen=True)
class Report:
    """A ranking with everything needed to read, check and repeat it.

    Attributes:
        data: the content of report.json (schema_version 1): plain dicts, lists, strings and finite numbers.
    """

    data: Mapping[str, Any]

    @property
    def candidates(self) -> list[dict[str, Any]]:
        """The candidates, best first, then those without a rank."""
        return list(self.data["candidates"])

    def explained(self, name: str | None = None) -> dict[str, Any]:
        """The candidate of that name, which has an explanation.

        Args:
            name: its id, what the report calls it, or its number in the ranking; by default the first one.

        Raises:
            UserError: no such candidate, or it has no explanation.
        """
        named = list(zip(card.short_names(self.candidates), self.candidates, strict=True))
        wanted = "1" if name is None else name
        found = [c for short, c in named if wanted in (c["id"], short)]
        found += [c for _, c in named if c["rank"] is not None and str(c["rank"]) == wanted]
        if not found and name is None:
            raise UserError("no candidate has a rank: name the one to explain")
        if not found:
            known = ", ".join(short for short, _ in named[:8]) + (" and others" if len(named) > 8 else "")
            raise UserError(f"no candidate {wanted!r} in the report: it has {known}")
        if found[0].get("explanation"):
            return found[0]
        reason = card.unexplained(self.data, found[0])
        others = [short for short, c in named if c["rank"] is not None and c.get("explanation")]
        instead = f"; the best candidate with an explanation is {others[0]}" if others else ""
        raise UserError(f"nothing explains {found[0]['id']}: {reason}{instead}")

    @property
    def exit_code(self) -> int:
        """0 if every candidate has a rank, 3 if some have none, 1 if none has one."""
        ranks = [candidate["rank"] for candidate in self.candidates]
        if all(rank is None for rank in ranks):
            return 1
        return 3 if None in ranks else 0

    def to_json(self) -> str:
        """The text of report.json, with a newline at the end."""
        return json.dumps(self.data, indent=2, ensure_ascii=False, allow_nan=False) + "\n"

    def _repr_html_(self) -> str:
        """The ranking as a table, for a notebook."""
        return card.notebook(self.data)

    def __repr__(self) -> str:
        """One line; the content is in ``data``, a table in a notebook."""
        ranked = sum(candidate["rank"] is not None for candidate in self.candidates)
        return f"<hf_leep report: {ranked} of {len(self.candidates)} candidates ranked by {self.data['sort_by']}>"

    @staticmethod
    def check_folder(folder: str | Path) -> None:
        """Raise unless a report may be written there: it must not replace a README.md that is no report's.

        Raises:
            UserError: an empty name, a file in its place, or a README.md without a report.json beside it.
        """
        folder = Path(folder)
        if str(folder) in ("", "."):
            raise UserError(f"the report needs a folder of its own: {option('folder')}")
        if folder.exists() and not folder.is_dir():
            raise UserError(f"{folder} is a file: the report needs a folder")
        if (folder / "README.md").exists() and not (folder / "report.json").exists():
            raise UserError(f"{folder} holds a README.md that is no report's: give the report a folder of its own")

    def to_bytes(self) -> bytes:
        """The bytes of report.json: UTF-8; a path that is no UTF-8 as JSON escapes."""
        return self.to_json().encode("utf-8", "backslashreplace")

    def save(self, folder: str | Path) -> Path:
        """Write report.json, README.md, scores.parquet and plots/ into a folder, each file whole or not at all.

        Args:
            folder: made if it is missing; files of an earlier report are replaced.

        Raises:
            UserError: the folder cannot be written.
        """
        self.check_folder(folder)
        folder = Path(folder)
        try:
            (folder / "plots").mkdir(parents=True, exist_ok=True)
            # The truth first: whatever happens to the pictures, the scores are on disk.
            _write(folder / "report.json", self.to_bytes())
            files = card.render(self.data)
            for name, content in files.items():
                _write(folder / name, content)
            for name in card.FILES - set(files):  # of an earlier report
                (folder / name).unlink(missing_ok=True)
        except OSError as error:
            raise UserError(f"cannot write the report to {folder}: {error.strerror or error}") from None
        return folder

    @classmethod
    def load(cls, folder: str | Path) -> Report:
        """Read a report back from its folder.

        Raises:
            UserError: there is no readable report.json of a known schema version.
        """
        path = Path(folder) / "report.json"
        if Path(folder).is_file():
            raise UserError(f"{folder} is a file: name the folder that its report.json is in")
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise UserError(f"cannot read {path}: {error.strerror or error}") from None
        except ValueError as error:
            raise UserError(f"{path} is damaged: {error}") from None
        found = data.get("schema_version") if isinstance(data, dict) else None
        if found != SCHEMA_VERSION:
            raise UserError(f"{path} has schema_version {found!r}; this hf_leep reads {SCHEMA_VERSION}")
        try:
            card.render(data)
        except (KeyError, TypeError, AttributeError, ValueError, IndexError) as error:
            raise UserError(f"{path} is damaged: {type(error).__name__} {one_line(error)}") from None
        return cls(data)


def _write(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_bytes(content)
    temporary.replace(path)
