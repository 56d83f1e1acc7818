"""Compose the ring: data set and candidates in, report out."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_leep import data, forward, hub, ranking
from hf_leep.errors import HfLeepError, MeasureError, UserError
from hf_leep.measures import MEASURES, find
from hf_leep.modalities import LOADERS
from hf_leep.records import Candidate, Extraction, Result, Target
from hf_leep.report import Report

if TYPE_CHECKING:
    from accelerate import Accelerator

DEFAULT_MEASURES = ("leep", "leave-one-out-leep", "nce")
DEFAULT_BATCH_SIZE = 32
_DTYPES = ("float32", "bfloat16", "float16")
_VERSIONS = ("hf-leep", "torch", "transformers", "datasets", "accelerate", "huggingface-hub", "numpy", "scipy")


def rank(
    candidates: Sequence[str],
    dataset: Any,
    *,
    config: str | None = None,
    split: str | None = None,
    revision: str | None = None,
    label: str | None = None,
    input: str | None = None,  # noqa: A002 - the option's name
    measures: Sequence[str] = DEFAULT_MEASURES,
    sort_by: str | None = None,
    max_samples: int | None = None,
    seed: int = 0,
    batch_size: int = DEFAULT_BATCH_SIZE,
    device: str | None = None,
    dtype: str = "float32",
    progress: bool = True,
    command: Sequence[str] | None = None,
) -> Report:
    """Rank checkpoints for a labelled data set, with one forward pass each and no training.

    A candidate that cannot be loaded, run or scored becomes a row of the report with its reason; the others go on.
    Interrupting keeps what is finished.

    Args:
        candidates: local folders, or repo ids on the Hub (``id@revision`` to pin one).
        dataset: a ``datasets.Dataset`` or ``DatasetDict``, a Hub id, a file, a folder, or a ``save_to_disk`` folder.
        config: configuration of the data set.
        split: split, slices such as ``train[:20%]`` included; never rows that the chosen model is judged on later.
        revision: revision of a data set on the Hub.
        label: label column; inferred where it is clear.
        input: input column; inferred where it is clear.
        measures: keys of `hf_leep.measures.MEASURES`.
        sort_by: the measure that makes the order, the first of ``measures`` by default.
        max_samples: size of a stratified sample, all rows by default.
        seed: seed of the sample.
        batch_size: rows a batch.
        device: ``cpu``, ``cuda`` or ``mps``; the best at hand by default.
        dtype: number type of the weights: ``float32``, ``bfloat16`` or ``float16``.
        progress: show a bar on stderr (HF_HUB_DISABLE_PROGRESS_BARS silences it too).
        command: the command line that led here, for the report.

    Raises:
        UserError: the call or the target was wrong; nothing has been run.
    """
    started = time.perf_counter()
    names, chosen, sort_by = _checked(candidates, measures, sort_by, batch_size, dtype)
    on = forward.accelerator(device)
    target, rows = data.load(
        dataset,
        config=config,
        split=split,
        revision=revision,
        label=label,
        inputs=input,
        max_samples=max_samples,
        seed=seed,
    )
    if target.modality not in LOADERS:
        raise UserError(f"no adapter for {target.modality} data; there is one for {', '.join(LOADERS)}")
    scored: dict[str, Result] = {}  # a candidate listed twice runs once
    with _bar(len(dict.fromkeys(names)) * len(rows), progress) as bar:
        for name in dict.fromkeys(names):
            bar.set_description(Path(name).name[-30:])
            before = bar.n
            try:
                extraction = extract(name, target, rows, on=on, batch_size=batch_size, dtype=dtype, advance=bar.update)
                scored[name] = ranking.score(extraction, ranking.with_checks(chosen))
                del extraction  # a wide head over many rows is large: never two at once
            except KeyboardInterrupt:
                break
            except UserError:
                raise
            except Exception as error:  # one bad candidate never stops the others, whatever it raises
                scored[name] = Result(Candidate(name), reason=_reason(error))
            bar.update(before + len(rows) - bar.n)
    results = [scored.get(name, Result(Candidate(name), reason="not run: interrupted")) for name in names]
    return Report.build(
        target,
        results,
        ranking.rank(results, sort_by),
        measures=chosen,
        versions={"python": platform.python_version(), **{name: version(name) for name in _VERSIONS}},
        command=command,
        seconds=time.perf_counter() - started,
    )


def extract(
    name: str,
    target: Target,
    rows: data.Rows,
    *,
    on: Accelerator,
    batch_size: int = DEFAULT_BATCH_SIZE,
    dtype: str = "float32",
    advance: Callable[[int], object] = lambda _rows: None,
) -> Extraction:
    """Resolve, load and run one candidate over the target's rows.

    Args:
        name: local folder or repo id.
        target: the target.
        rows: its rows.
        on: accelerator, see `hf_leep.forward.accelerator`.
        batch_size: rows a batch.
        dtype: number type of the weights.
        advance: called with the number of rows after each batch.

    Raises:
        CandidateError: the candidate cannot be resolved, loaded or run.
        TargetError: a row cannot be decoded.
    """
    import torch

    snapshot = hub.resolve(name)
    classifier = LOADERS[target.modality](snapshot.path, target.input_columns, getattr(torch, dtype))
    return forward.extract(
        classifier, snapshot.candidate, rows, target.labels, on=on, batch_size=batch_size, advance=advance
    )


def read_names(path: Path) -> list[str]:
    """Read candidates from a text file: one a line, blank lines and what follows a ``#`` left out.

    Raises:
        UserError: the file cannot be read.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read the list of candidates {path}: {error}") from None
    return [name for line in lines if (name := line.split("#")[0].strip())]


def _checked(
    candidates: Sequence[str], measures: Sequence[str], sort_by: str | None, batch_size: int, dtype: str
) -> tuple[list[str], tuple[str, ...], str]:
    """Check what can be checked before anything is opened."""
    if isinstance(candidates, str | Path):
        candidates = [str(candidates)]
    names = [str(name) for name in candidates]
    if not names:
        raise UserError("no candidates: name at least one checkpoint")
    if isinstance(measures, str):
        measures = [measures]
    chosen = tuple(dict.fromkeys(find(name).name for name in measures))
    if not chosen:
        raise MeasureError(f"no measures: choose from {', '.join(MEASURES)}")
    order = find(sort_by).name if sort_by else chosen[0]
    if order not in chosen:
        raise MeasureError(f"sort_by is {order}, which is not among the measures {', '.join(chosen)}")
    if batch_size < 1:
        raise UserError(f"batch_size is {batch_size}; it must be at least 1")
    if dtype not in _DTYPES:
        raise UserError(f"unknown dtype {dtype!r}: {', '.join(_DTYPES)}")
    return names, chosen, order


def _bar(total: int, show: bool) -> Any:
    from huggingface_hub.utils import tqdm  # honours HF_HUB_DISABLE_PROGRESS_BARS

    return tqdm(total=total, unit="row", disable=None if show else True, dynamic_ncols=True)


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())[:400]
    if isinstance(error, HfLeepError):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
