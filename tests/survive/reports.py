"""Damaged and hostile reports: every command that takes one refuses it in one line, or does its work."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tests.survive.ground import LIMIT, Ground, Row

COMMANDS = (
    ("card", "FOLDER"),
    ("explain", "FOLDER"),
    ("explain", "FOLDER", "2", "--all"),
    ("push", "FOLDER", "user/REPO"),
    ("push", "FOLDER", "user/REPO", "--repo-type", "model", "--annotate-models", "--json"),
    ("validate", "FOLDER"),
)
"""Every command that takes the folder of a report; ``rank --output`` reads one, too, where nothing is ranked."""

# Runs commands in one process: it reads lists of arguments, and writes what came of each.
RUNNING = """
import contextlib, io, json, signal, sys, traceback

class Hung(BaseException):
    pass

def hung(*_):
    raise Hung

from hf_leep import cli
from hf_leep.report import Report

signal.signal(signal.SIGALRM, hung)
answered = open(sys.argv[2], "w", buffering=1)
for arguments in json.load(open(sys.argv[1])):
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", "backslashreplace", write_through=True) for _ in range(2))
    code = raised = None
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        signal.alarm(int(sys.argv[3]))
        try:
            if arguments[0] == "leaves_ranking":
                code = Report.leaves_ranking.__get__(type("Report", (), {"exit_code": 1})())(arguments[1]) and 0
            else:
                code = cli.run(arguments)
        except BaseException as error:
            raised = "hung" if isinstance(error, Hung) else traceback.format_exc()[-600:]
        finally:
            signal.alarm(0)
    said = [stream.buffer.getvalue().decode("utf-8") for stream in (out, err)]
    print(json.dumps([code, raised, *said]), file=answered)
"""

_TEXTS = (
    "", "\0", "\ud800", "\x1b[31m", "[bold]x[/]", "{{ 7 * 7 }}", "{% include '/etc/passwd' %}", "<script>a()</script>",
    "| a | b |\n|---|", "```\n", "../../../etc/passwd", "/dev/zero", "https://stranger/x", "a" * 100_000, "\u202eabc",
    "−∞", "nan", "1" * 5000, "---\nlicense: x\n---", "$(touch payload-ran)", "%s%n", "\r\nhf-leep: done",
    "hf-leep\nname\n", "🤗" * 99,
)  # fmt: skip
_VALUES = (
    None, True, False, 0, -1, 1, 2**31, 2**53 + 1, 2**63 - 1, 0.5, -0.0, 1e-320, 1e100, -1e100, 1e308, [], {}, [[]],
    {"": None}, [None] * 3, [0, 1], ["a"], {"a": {"b": []}},
)  # fmt: skip


def damaged(text: str, rng: np.random.Generator) -> bytes:
    """A report that was damaged, or made to do harm.

    Args:
        text: the text of a good report.json.
        rng: chooses what is done to it.
    """
    kind = rng.integers(0, 10)
    if kind == 0:
        return text.encode()[: rng.integers(0, len(text))]
    if kind == 1:
        content = bytearray(text.encode())
        for position in rng.integers(0, len(content), rng.integers(1, 9)):
            content[position] = rng.integers(0, 256)
        return bytes(content)
    if kind == 2:
        start, length = rng.integers(0, len(text)), rng.integers(1, 3000)
        return (text[:start] + text[start + length :]).encode()
    if kind == 3:
        start, length = rng.integers(0, len(text)), rng.integers(1, 3000)
        return (text[:start] + text[start : start + length] * 2 + text[start + length :]).encode()
    data = json.loads(text)
    for _ in range(rng.integers(1, 4)):
        (_change if kind == 4 else _change_gently)(data, rng)
    return json.dumps(data).encode()


def _change_gently(data: dict, rng: np.random.Generator) -> None:
    """Change one value of a report to another one of its type, which is often accepted."""
    places = [place for place in _places(data) if not isinstance(place[0][place[1]], dict | list)]
    holder, key = places[rng.integers(0, len(places))]
    old = holder[key]
    if isinstance(old, str):
        others = [other[k] for other, k in places if isinstance(other[k], str)]
        holder[key] = str(rng.choice(others)) if rng.random() < 0.2 else _TEXTS[rng.integers(0, len(_TEXTS))]
    elif isinstance(old, bool):
        holder[key] = not old
    elif isinstance(old, int):
        holder[key] = int(rng.choice([0, 1, 2, 3, 10**6, 2**40, 2**63 - 1]))
    elif isinstance(old, float):
        holder[key] = float(rng.choice([0.0, 1.0, 1e-300, old * 1.001, -old, 1e99, -1e99]))
    else:
        holder[key] = [None, 1, 0.5, "text"][rng.integers(0, 4)]


def _change(data: dict, rng: np.random.Generator) -> None:
    """Change one value of a report, or exchange two."""
    places = list(_places(data))
    holder, key = places[rng.integers(0, len(places))]
    kind = rng.integers(0, 5)
    old = holder[key]
    if kind == 0:
        holder.pop(key)
    elif kind == 1:
        texts = isinstance(old, str) or rng.random() < 0.3
        holder[key] = _TEXTS[rng.integers(0, len(_TEXTS))] if texts else _VALUES[rng.integers(0, len(_VALUES))]
    elif kind == 2:
        other, place = places[rng.integers(0, len(places))]
        holder[key] = json.loads(json.dumps(other[place]))
    elif kind == 3 and isinstance(holder, list):
        holder[key:key] = [json.loads(json.dumps(old))] * int(rng.integers(1, 30))
    elif isinstance(old, int | float) and not isinstance(old, bool):
        holder[key] = (
            old * float(rng.choice([-1, 1e3, 1e-9, 1e30])) if rng.random() < 0.5 else int(rng.integers(-3, 9))
        )
    elif isinstance(holder, dict):
        holder[_TEXTS[rng.integers(0, len(_TEXTS))]] = holder.pop(key)


def _places(data: object) -> list[tuple]:
    """Every place of a value: what holds it, and its key there."""
    found = []
    pairs = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in pairs:
        found.append((data, key))
        found += _places(value)
    return found


# What is no change of a good report.
_WHOLE = (
    b"", b"null", b"[]", b"0", b"{}", b"\xff\xfe{\0}\0", b"\xef\xbb\xbf{}", b"[" * 10**6, b'{"a":' * 10**5,
    b"1" * 10**6, b'{"schema_version": 1}', b'{"schema_version": 1e400}', b'{"schema_version": NaN}', b" " * 10**6,
    b'"\\ud800"',
)  # fmt: skip


def fuzz(row: Row, ground: Ground, report: Path, num: int, rng: np.random.Generator) -> None:
    """Give damaged reports to every command.

    Args:
        row: takes the outcomes.
        ground: where the commands are run, with a Hub for ``push``.
        report: the folder of a good report.
        num: number of damaged reports.
        rng: chooses the damage.
    """
    folder = ground.root / "reports"
    here = (report / "report.json").read_text()
    on_hub = here
    for number, candidate in enumerate(json.loads(here)["candidates"]):
        on_hub = on_hub.replace(json.dumps(candidate["id"]), f'"lab/net-{number}"')
    on_hub = on_hub.replace(json.dumps(json.loads(here)["target"]["dataset"]), '"user/pictures"')
    contents = [*_WHOLE, *(damaged([here, on_hub][k % 2], rng) for k in range(num - len(_WHOLE)))]
    calls = []
    for number, content in enumerate(contents):
        place = folder / f"{number:05}"
        place.mkdir(parents=True)
        (place / "report.json").write_bytes(content)
        calls.append(["leaves_ranking", str(place)])
        for command in COMMANDS:
            names = {"FOLDER": str(place), "user/REPO": f"user/{number}"}
            calls.append([names.get(word, word) for word in command])
    asked, answered = folder / "calls.json", folder / "outcomes.jsonl"
    asked.write_text(json.dumps(calls))
    running = ground.start(asked, answered, 60, code=RUNNING, home="good-home")
    done = running.wait(LIMIT + 2.0 * len(calls))
    outcomes = [json.loads(line) for line in answered.read_text().splitlines()]
    for call, outcome in zip(calls, outcomes, strict=False):
        row.check(" ".join(call), *_faults(*outcome))
    if len(outcomes) < len(calls):
        row.check(" ".join(calls[len(outcomes)]), done.fault(0), running.orphans())
    row.check("what is beside it", list(running.place.iterdir()) and "code of a stranger was run")


def _faults(code: int | None, raised: str | None, out: str, err: str) -> Sequence[str | bool]:
    """What is wrong with the outcome of a command."""
    lines = err.splitlines()
    return (
        raised or "",
        "Traceback" in out + err and "a traceback",
        not raised and code not in (0, False, 1, 2, 3) and f"exit {code}",
        code == 2 and (len(lines) != 1 or not lines[0].startswith("hf-leep: ")) and f"exit 2, and said: {err[:400]!r}",
        code == 2 and bool(out) and f"exit 2, and printed: {out[:200]!r}",
    )
