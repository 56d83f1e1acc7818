"""The options of a run, as frozen records that check themselves.

Python, the command line, the worker processes and the tasks of a Ray cluster all use these records, so that an option
is declared, documented and checked once.
"""

from __future__ import annotations

import operator
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from numbers import Real
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from hf_leep.errors import UserError, option
from hf_leep.text import parse_duration, parse_size

Device: TypeAlias = Literal["cpu", "cuda", "mps"]
Dtype: TypeAlias = Literal["float32", "bfloat16", "float16"]
SearchOrder: TypeAlias = Literal["downloads", "likes", "trending_score", "last_modified", "created_at"]
ReportRepoType: TypeAlias = Literal["dataset", "model"]
DEVICES: tuple[Device, ...] = get_args(Device)
DTYPES: tuple[Dtype, ...] = get_args(Dtype)
REPORT_REPO_TYPES: tuple[ReportRepoType, ...] = get_args(ReportRepoType)
SEARCH_ORDERS: tuple[SearchOrder, ...] = get_args(SearchOrder)
DEFAULT_BUDGET = "20m"  # of fine-tuning

_RAY_NAMES = {"cpus": "CPU", "gpus": "GPU", "memory": "memory"}


def verbose() -> bool:
    """Whether the messages of the libraries underneath are shown; set for all processes of a run (`--verbose`)."""
    return bool(os.environ.get("HF_LEEP_VERBOSE"))


@dataclass(frozen=True, kw_only=True)
class Execution:
    """How the forward pass of each candidate is run.

    Attributes:
        batch_size: examples per batch; by default chosen by timing the first batches. Halved when memory runs out.
        device: ``cpu``, ``cuda`` or ``mps``; by default the best one available.
        dtype: number type to compute in, where that is safe (autocast): ``float32``, ``bfloat16`` or ``float16``.
        compile: compile each model first (``torch.compile``), which pays off on many examples.
        workers: processes that read, decode and process rows while the model runs; 0 for none, and by default chosen
            by timing the first batches: none where the model is the slower part. The numbers do not depend on it.
        jobs: number of candidates that are downloaded, run and scored at a time, each in a process of its own. They
            share the cores and the memory of this machine.
        fast_decode: decode JPEGs at reduced size, where they are more than twice as large as most models need. Scores
            change a little, for all candidates alike.
        cache: keep finished passes and scores in the store (``<HF_HOME>/hf_leep``), and reuse those that are there.
        candidate_timeout: time without a sign of life (a batch done, bytes that arrived) after which a candidate is
            given up, in seconds or as text such as ``10m``; no limit on its time in total.
        retry: try again the candidates that crashed their process in an earlier run.

    Raises:
        UserError: a value is not one of those above.
    """

    batch_size: int | None = None
    device: Device | None = None
    dtype: Dtype = "float32"
    compile: bool = False
    workers: int | None = None
    jobs: int = 1
    fast_decode: bool = False
    cache: bool = True
    candidate_timeout: str | float = "30m"
    retry: bool = False

    def __post_init__(self) -> None:
        """Check the values."""
        if self.batch_size is not None:
            check_count("execution.batch_size", self.batch_size, at_least=1)
        if self.workers is not None:
            check_count("execution.workers", self.workers, at_least=0)
        check_count("execution.jobs", self.jobs, at_least=1)
        check_device("execution.device", self.device)
        check_dtype("execution.dtype", self.dtype)
        for name in ("compile", "fast_decode", "cache", "retry"):
            check_flag(f"execution.{name}", getattr(self, name))
        _ = self.timeout_seconds

    @property
    def timeout_seconds(self) -> float:
        """The longest time without a sign of life, in seconds."""
        return parse_duration(self.candidate_timeout, option("execution.candidate_timeout"))


@dataclass(frozen=True, kw_only=True)
class HubAccess:
    """How the Hub is reached, and what is downloaded from it.

    Attributes:
        token: token for the Hub; by default the one of HF_TOKEN or ``hf auth login``, if there is one; False to send
            none.
        cache_dir: folder in which checkpoints are kept; by default the Hugging Face cache.
        allow_pickle: accept pickled weights where there are no safetensors; only tensors are read from them.
        max_download: limit on all downloads together, in bytes or as text such as ``20GB``; candidates that exceed it
            are skipped.
        prefetch: number of candidates to download ahead while one runs.
        evict: remove each checkpoint that this run downloaded after it is scored.

    Raises:
        UserError: a size that cannot be read, a negative number, or a value of another type.
    """

    token: str | bool | None = field(default=None, repr=False)
    cache_dir: str | Path | None = None
    allow_pickle: bool = False
    max_download: str | int | None = None
    prefetch: int = 1
    evict: bool = False

    def __post_init__(self) -> None:
        """Check the values."""
        if not isinstance(self.token, str | bool | None):  # its value may be a secret
            raise UserError(f"{option('hub.token')} is of another type; it must be text, True or False")
        if not isinstance(self.cache_dir, str | Path | None):
            raise UserError(f"{option('hub.cache_dir')} is {self.cache_dir!r}; it must be text or a path")
        check_flag("hub.allow_pickle", self.allow_pickle)
        check_count("hub.prefetch", self.prefetch, at_least=0)
        check_flag("hub.evict", self.evict)
        _ = self.max_download_bytes

    @property
    def max_download_bytes(self) -> int | None:
        """The limit on all downloads in bytes; None without one."""
        return None if self.max_download is None else parse_size(self.max_download, option("hub.max_download"))


@dataclass(frozen=True, kw_only=True)
class Search:
    """A search for candidates on the Hub; a condition that is None does not apply.

    Attributes:
        text: part of the name.
        task: Hub task, such as ``image-classification``; by default the one that fits the data set.
        library: library of the checkpoint.
        author: user or organisation.
        license: identifier of the licence, such as ``apache-2.0``.
        max_params: largest number of parameters, such as ``100M``.
        min_downloads: smallest number of downloads in the last month.
        trained_on: data set that the checkpoint was trained on, according to its card.
        limit: number of candidates to take.
        sort: what the results are sorted by, greatest first: ``downloads``, ``likes``, ``trending_score``,
            ``last_modified`` or ``created_at``.

    Raises:
        UserError: a size, number, limit or order that is not valid, or a value of another type.
    """

    text: str | None = None
    task: str | None = None
    library: str | None = "transformers"
    author: str | None = None
    license: str | None = None
    max_params: str | int | None = None
    min_downloads: int | None = None
    trained_on: str | None = None
    limit: int = 20
    sort: SearchOrder = "downloads"

    def __post_init__(self) -> None:
        """Check what can be checked without the Hub."""
        _ = self.max_num_parameters
        for name in ("text", "task", "library", "author", "license", "trained_on"):
            check_text(f"search.{name}", getattr(self, name))
        if self.min_downloads is not None:
            check_count("search.min_downloads", self.min_downloads, at_least=0)
        check_count("search.limit", self.limit, at_least=1)
        _check_choice("search.sort", self.sort, SEARCH_ORDERS)

    @property
    def max_num_parameters(self) -> int | None:
        """The largest number of parameters; None without a limit."""
        return None if self.max_params is None else parse_size(self.max_params, option("search.max_params"))


@dataclass(frozen=True, kw_only=True)
class Race:
    """Run candidates on growing nested samples, and stop those that are clearly behind early.

    Attributes:
        confidence: probability that none of the truly best candidates is stopped, at least 0.5 and below 1.
        top: number of best candidates to find, K.

    Raises:
        UserError: a value out of its range.
    """

    confidence: float = 0.95
    top: int = 1

    def __post_init__(self) -> None:
        """Check the values."""
        if not _is_number(self.confidence) or not 0.5 <= self.confidence < 1:
            raise UserError(
                f"{option('race.confidence')} is {self.confidence!r}; "
                "it must be at least 0.5 and below 1, such as 0.95"
            )
        check_count("race.top", self.top, at_least=1)


@dataclass(frozen=True, kw_only=True)
class FineTuning:
    """Fine-tune a shortlist of candidates, and test them on rows that were used for nothing else.

    Attributes:
        top: number of candidates to fine-tune, from the first on; the one with the most accurate linear head (the
            second opinion) is added.
        budget: time for all training, in seconds or as text such as ``90s``, ``20m`` or ``1h``; 20 minutes by
            default.
        steps: optimiser steps of each finalist, instead of a budget: the same number gives the same accuracies on
            the same machine.
        flip: whether images are flipped at random in training, left to right.

    Raises:
        UserError: a value out of its range, a budget that cannot be read, or both a budget and steps.
    """

    top: int = 3
    budget: str | float | None = None
    steps: int | None = None
    flip: bool = False

    def __post_init__(self) -> None:
        """Check the values."""
        check_count("fine_tune.top", self.top, at_least=1)
        if self.steps is not None:
            check_count("fine_tune.steps", self.steps, at_least=1)
            if self.budget is not None:
                raise UserError(
                    f"{option('fine_tune.steps')} and {option('fine_tune.budget')} both say how long: give one"
                )
        _ = self.seconds

    @property
    def seconds(self) -> float | None:
        """The budget in seconds; None where steps are given instead."""
        if self.steps is not None:
            return None
        return parse_duration(DEFAULT_BUDGET if self.budget is None else self.budget, option("fine_tune.budget"))


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """Run each candidate as a task of a Ray cluster (the extra ``ray``).

    Attributes:
        address: address of the cluster; by default that of RAY_ADDRESS. Without either, a cluster is started on this
            machine.
        resources: what each candidate needs, such as ``cpus=2,gpus=1,memory=8GB``; by default one CPU, one GPU if the
            cluster has any, and memory according to the size of its weights.

    Raises:
        UserError: resources that cannot be read.
    """

    address: str | None = None
    resources: str | None = None

    def __post_init__(self) -> None:
        """Check the values."""
        check_text("cluster.address", self.address)
        check_text("cluster.resources", self.resources, such_as="cpus=2,gpus=1,memory=8GB")
        _ = self.requested

    @property
    def requested(self) -> dict[str, float]:
        """The resources that are asked for, under Ray's names."""
        name = option("cluster.resources")
        found: dict[str, float] = {}
        for part in filter(None, (self.resources or "").split(",")):
            kind, _, amount = (word.strip() for word in part.partition("="))
            try:
                ray_name = _RAY_NAMES[kind]
                found[ray_name] = parse_size(amount, "memory") if kind == "memory" else float(amount)
            except (KeyError, ValueError, UserError):
                raise UserError(f"{name} {part!r}: write it like cpus=2,gpus=1,memory=8GB") from None
            if not found[ray_name] >= 0:
                raise UserError(f"{name} {part!r}: the amount must be 0 or more")
        return found


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which examples of the data set are used: the arguments of `hf_leep.data.load`, which checks the rest of them.

    Attributes:
        config: configuration of the data set.
        split: split, or a slice such as ``train[:20%]``.
        revision: revision of a data set on the Hub.
        label: label column.
        inputs: input column, or two text columns.
        max_samples: size of the sample.
        streaming: read only the sample from the Hub.
        seed: seed of the sample, at least 0.
        skip_bad_rows: number of rows that may be left out because they cannot be read or processed.

    Raises:
        UserError: a value of another type, or a negative seed.
    """

    config: str | None = None
    split: str | None = None
    revision: str | None = None
    label: str | None = None
    inputs: str | Sequence[str] | None = None
    max_samples: int | None = None
    streaming: bool = False
    seed: int = 0
    skip_bad_rows: int = 0

    def __post_init__(self) -> None:
        """Check the types, and the seed."""
        for name in ("config", "split", "revision", "label"):
            check_text(name, getattr(self, name))
        for column in self.inputs if isinstance(self.inputs, Sequence) else (self.inputs,):
            check_text("input", column)
        check_flag("streaming", self.streaming)
        check_count("seed", self.seed, at_least=0)
        check_count("skip_bad_rows", self.skip_bad_rows, at_least=0)


def check_device(name: str, device: Device | None) -> None:
    """Raise unless it is one of `DEVICES`, or None.

    Raises:
        UserError: it is not.
    """
    if device is not None and device not in DEVICES:
        raise UserError(
            f"unknown {option(name)} {device!r}: {', '.join(DEVICES)}; leave it out for the best one available"
        )


def check_dtype(name: str, dtype: Dtype) -> None:
    """Raise unless it is one of `DTYPES`.

    Raises:
        UserError: it is not.
    """
    _check_choice(name, dtype, DTYPES)


def check_count(name: str, value: int, *, at_least: int) -> None:
    """Raise unless a value is a whole number that is large enough.

    Raises:
        UserError: it is not.
    """
    try:
        enough = operator.index(value) >= at_least and not isinstance(value, bool)
    except TypeError:
        enough = False
    if not enough:
        raise UserError(f"{option(name)} is {value!r}; it must be a whole number of at least {at_least}")


def check_flag(name: str, value: object) -> None:
    """Raise unless a value is True or False.

    Raises:
        UserError: it is not.
    """
    if not isinstance(value, bool):
        raise UserError(f"{option(name)} is {value!r}; it must be True or False")


def check_text(name: str, value: object, *, such_as: str = "") -> None:
    """Raise unless a value is text, or None.

    Raises:
        UserError: it is not.
    """
    if value is not None and not isinstance(value, str):
        example = f" such as {such_as}" if such_as else ""
        raise UserError(f"{option(name)} is {value!r}; it must be text{example}")


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise UserError(f"unknown {option(name)} {value!r}: {', '.join(choices)}")
