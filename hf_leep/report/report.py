"""The report: plain data that is saved as a folder of files and loaded from it."""

from __future__ import annotations

import contextlib
import difflib
import json
import os
import stat
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hf_leep import temporary
from hf_leep.errors import UserError, one_line, option
from hf_leep.report import card, thumbnails
from hf_leep.report.candidate_schema import CandidateData
from hf_leep.report.card.wording import named
from hf_leep.report.schema import SCHEMA_VERSION, ReportData
from hf_leep.report.validator import check, parse
from hf_leep.text import plain

_MAX_BYTES = 256 * 2**20  # of a report.json
_MOST_NAMES = 9  # listed where a name is not found
_REPORT, _FAILED = "report.json", "failed.json"
_PARTS = {"schema_version", "target", "measures", "sort_by", "candidates", "run"}


@dataclass(frozen=True)
class Report:
    """A ranking with everything that is needed to read, check and repeat it.

    Attributes:
        data: the content of report.json: plain dicts, lists, strings and finite numbers. Its types are in
            `hf_leep.report.schema`.
        thumbnails: row of the split → a small JPEG of it, for the hardest rows of each candidate, if they were asked
            for; kept beside report.json in the folder ``thumbnails``.
    """

    data: ReportData
    thumbnails: Mapping[int, bytes] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        """Check that there is content; `load` checks all of it.

        Raises:
            UserError: it is not the content of a report.json.
        """
        if not isinstance(self.data, dict) or not self.data.keys() >= _PARTS:
            raise UserError("this is not the content of a report.json: read one with Report.load(folder)")

    @property
    def candidates(self) -> list[CandidateData]:
        """The candidates, best first, then those without a rank."""
        return list(self.data["candidates"])

    def candidate_with_explanation(self, name: str | None = None) -> CandidateData:
        """Find a candidate that has an explanation.

        Args:
            name: its id, its name in the report, or its number in the ranking; by default the first in the ranking.

        Raises:
            UserError: there is no such candidate, or it has no explanation.
        """
        candidates = named(self.data)
        wanted = "1" if name is None else name
        found = [c for short, c in candidates if wanted in (c["id"], short)]
        found += [c for _, c in candidates if c["rank"] is not None and str(c["rank"]) == wanted]
        if not found and name is None:
            raise UserError("no candidate has a rank: name the one to explain")
        if not found:
            names = [short for short, _ in candidates]
            close = difflib.get_close_matches(wanted, names, n=1)
            hint = f"did you mean {close[0]}? " if close else ""
            shown = names if len(names) <= _MOST_NAMES else names[: _MOST_NAMES - 1]
            more = f" and {len(names) - len(shown)} others" if len(names) > len(shown) else ""
            raise UserError(f"no candidate {wanted!r} in the report: {hint}it has {', '.join(shown)}{more}")
        if found[0]["explanation"] is not None:
            return found[0]
        reason = card.why_unexplained(self.data, found[0])
        others = [short for short, c in candidates if c["rank"] is not None and c["explanation"] is not None]
        instead = f"; the best candidate with an explanation is {others[0]}" if others else ""
        raise UserError(f"there is no explanation of {found[0]['id']}: {reason}{instead}")

    @property
    def exit_code(self) -> int:
        """Exit code of ``hf-leep rank``: 0 if every candidate has a rank, 3 if some have none, 1 if none has one."""
        ranks = [candidate["rank"] for candidate in self.candidates]
        if all(rank is None for rank in ranks):
            return 1
        return 3 if None in ranks else 0

    def to_json(self) -> str:
        """The text of report.json, with a newline at the end.

        Raises:
            ValueError: there is a NaN or an infinity in the data.
        """
        return json.dumps(self.data, indent=2, ensure_ascii=False, allow_nan=False) + "\n"

    def _repr_html_(self) -> str:
        """The ranking as a table, for a notebook."""
        return card.notebook(self.data)

    def __repr__(self) -> str:
        """One line; ``data`` has the content, and a notebook shows a table."""
        ranked = sum(candidate["rank"] is not None for candidate in self.candidates)
        return f"<hf_leep report: {ranked} of {len(self.candidates)} candidates ranked by {self.data['sort_by']}>"

    @staticmethod
    def check_folder(folder: str | Path) -> None:
        """Check that a report can be written to a folder, and replaces no README.md of something else.

        Raises:
            UserError: the name is empty, it is a file, it cannot be written to, or it holds a README.md but no
                report.json.
        """
        folder = Path(folder)
        if str(folder) in ("", ".") and not (folder / _REPORT).exists():
            raise UserError(f"the report needs a folder of its own: {option('folder')}")
        if folder.exists() and not folder.is_dir():
            raise UserError(f"{folder} is a file: the report needs a folder")
        if (folder / "README.md").exists() and not (folder / "report.json").exists():
            raise UserError(
                f"{folder} holds a README.md that is not part of a report: give the report a folder of its own"
            )
        existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
        try:
            Path(tempfile.mkdtemp(dir=existing)).rmdir()
        except OSError as error:
            raise UserError(f"cannot write the report to {folder} ({error.strerror or error})") from None

    def leaves_ranking(self, folder: str | Path) -> bool:
        """Whether nothing is ranked in this report, but something in the one that the folder holds."""
        if self.exit_code != 1:
            return False
        try:
            return Report.load(folder).exit_code != 1
        except UserError:  # none, or a damaged one
            return False

    def to_bytes(self) -> bytes:
        """The bytes of report.json, in UTF-8; parts of a path that are not Unicode become JSON escapes."""
        return self.to_json().encode("utf-8", "backslashreplace")

    def save(self, folder: str | Path) -> Path:
        """Write report.json and the files made from it into a folder; no file is ever half written.

        A report in which nothing is ranked does not replace a ranking: it is written to failed.json beside it.
        Thumbnails of an earlier report in the folder are removed.

        Args:
            folder: created if it is missing; files of an earlier report are replaced, but none before all are written.

        Returns:
            The folder.

        Raises:
            UserError: the folder cannot be written, or holds something else; or the data is not that of a report.
        """
        self.check_folder(folder)
        folder = Path(folder)
        leaves, replaces = self.leaves_ranking(folder), (folder / _REPORT).exists()
        files = {_FAILED: self._content()} if leaves else {_REPORT: self._content(), **self._rendered(folder)}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            patterns = {*map(temporary.pattern, (_FAILED, _REPORT, *card.FILES)), f"{thumbnails.FOLDER}/.*.tmp"}
            temporary.clear(left for pattern in patterns for left in folder.glob(pattern))
            for name in files:
                (folder / name).parent.mkdir(exist_ok=True)
            temporary.write_all({folder / name: content for name, content in files.items()})
            for name in () if leaves else {*card.FILES, _FAILED} - set(files):  # of an earlier report
                (folder / name).unlink(missing_ok=True)
            if replaces and not leaves:
                self._clear_thumbnails(folder)
        except OSError as error:
            raise UserError(f"cannot write the report to {folder} ({error.strerror or error})") from None
        return folder

    def _clear_thumbnails(self, folder: Path) -> None:
        """Remove the thumbnails of an earlier report, whose rows are others."""
        for path in thumbnails.left_in(folder):
            if int(path.stem) not in self.thumbnails:
                path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # it is not there, or holds something
            (folder / thumbnails.FOLDER).rmdir()

    def _content(self) -> bytes:
        try:
            return self.to_bytes()
        except (ValueError, TypeError, RecursionError) as error:
            raise UserError(f"the report cannot be written ({one_line(error)})") from None

    def _rendered(self, folder: Path) -> dict[str, bytes]:
        """The other files; where they cannot be made, report.json alone is written, if it replaces nothing."""
        try:
            place = card.Place(_as_in_commands(folder))
            rendered = card.render(self.data, thumbnails=self.thumbnails, place=place)
            return {**thumbnails.files(self.thumbnails), **rendered}
        except Exception as error:
            try:
                check(parse(self.to_json()))
            except ValueError as fault:
                raise UserError(f"the report cannot be written ({one_line(fault)})") from error
            if not (folder / _REPORT).exists():
                with contextlib.suppress(OSError):
                    folder.mkdir(parents=True, exist_ok=True)
                    temporary.write(folder / _REPORT, self.to_bytes())
            raise

    @classmethod
    def load(cls, folder: str | Path) -> Report:
        """Read a report from its folder, and check it against the schema.

        Raises:
            UserError: there is no readable report.json, it has another schema version, or it does not fit the schema;
                the message says where.
        """
        if not isinstance(folder, str | os.PathLike):
            raise UserError(f"the folder of a report is text or a path, got {folder!r}")
        if not str(folder).strip():
            raise UserError("the folder of the report has no name: give its path, or . for the current folder")
        path = Path(folder) / "report.json"
        try:
            if Path(folder).is_file():
                raise UserError(f"{folder} is a file: name the folder that its report.json is in")
            status = path.stat()
            if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)) or temporary.is_of_kernel(path):
                raise UserError(f"cannot read {path}: it is a pipe, a device or a link into /proc, not a file")
            if status.st_size > _MAX_BYTES:
                raise UserError(f"{path} is damaged: it is longer than {_MAX_BYTES >> 20} MB")
            text = path.read_text(encoding="utf-8")
        except OSError as error:
            raise UserError(f"cannot read {path} ({error.strerror or error})") from None
        except UnicodeDecodeError as error:
            raise UserError(f"{path} is damaged ({error})") from None
        except ValueError as error:  # a path with a zero byte
            raise UserError(f"cannot read {plain(str(path))} ({error})") from None
        if not text.strip():
            raise UserError(f"{path} is damaged: it is empty")
        try:
            data = parse(text)
        except ValueError as error:
            raise UserError(f"{path} is damaged ({one_line(error)})") from None
        if not isinstance(data, dict):
            raise UserError(f"{path} is damaged: it holds {plain(text.strip())[:80]}, not an object")
        found = data.get("schema_version")
        if found != SCHEMA_VERSION:
            raise UserError(
                f"{path} has schema_version {plain(repr(found))[:80]}; this hf_leep reads {SCHEMA_VERSION}"
            )
        try:
            checked = check(data)
        except ValueError as error:
            raise UserError(f"{path} is damaged ({one_line(error)})") from None
        return cls(checked, thumbnails.read(Path(folder), checked))


def _as_in_commands(folder: Path) -> str:
    """A folder as a command names it in the current directory, or by its name alone where it is elsewhere."""
    if not folder.is_absolute() and folder.name:
        return str(folder)
    here, whole = Path.cwd(), folder.absolute()
    return str(whole.relative_to(here)) if here in whole.parents else whole.name
