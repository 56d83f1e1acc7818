"""How far to trust a ranking: train a head on each candidate's features, or fine-tune a shortlist for real.

Nguyen, Hassner, Seeger, Archambeau: LEEP, ICML 2020, section 5.1: a score should predict the accuracy of the
re-trained head. Each example is classified by a linear head that was fitted without it, in closed form
(`hf_leep.measures.ridge_head`), so no other rows are needed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from hf_leep import api, data, options
from hf_leep.data import DatasetLike
from hf_leep.errors import (
    CandidateError,
    HfLeepError,
    HubLimitError,
    ProcessError,
    TargetError,
    UserError,
    name_options,
    option,
    without_record,
)
from hf_leep.hub import Client, pin_dataset
from hf_leep.models import MODALITIES
from hf_leep.options import DTYPES, Device, Dtype, Execution, FineTuning, HubAccess, check_device, check_dtype
from hf_leep.ranking import scoring
from hf_leep.records import Extraction, Score, Target
from hf_leep.report import Report
from hf_leep.report.candidate_schema import CandidateData, RankedData
from hf_leep.report.card import short_names
from hf_leep.report.schema import ReportData, TargetData, is_ranked
from hf_leep.runs import plan
from hf_leep.runs.bars import progress_bar
from hf_leep.runs.config import FAST_DECODE
from hf_leep.runs.left_out import without
from hf_leep.runs.passes import errors_of_candidates
from hf_leep.runs.supervisor import Worker, open_worker
from hf_leep.store import Store
from hf_leep.text import with_article
from hf_leep.training import comparison
from hf_leep.training.agreement import agreement_with, validation_data
from hf_leep.training.shortlist import by_name, in_memory, shortlist
from hf_leep.training.trainers import Trainers, memory_of_trainings


def validate(
    report: Report | str | Path,
    *,
    top: int | None = None,
    fine_tune: FineTuning | None = None,
    models: Sequence[plan.ModelInMemory] = (),
    dataset: DatasetLike | None = None,
    device: Device | None = None,
    dtype: Dtype | None = None,
    hub: HubAccess | None = None,
    candidate_timeout: str | float = Execution.candidate_timeout,
    retry: bool = False,
    progress: bool = True,
    command: Sequence[str] | None = None,
) -> Report:
    """Train heads on a ranking's candidates, or fine-tune the first of them, and compare the outcome with its order.

    Linear heads are fitted to the features of all candidates or of the first ``top``, and each example is judged by a
    head that was fitted without it, as by the measure ``ridge``. With ``fine_tune``, whole networks are trained
    instead, within a budget: the first ``fine_tune.top`` candidates and the first by the second opinion. Three fifths
    of the ranked rows are for training, one fifth is for choosing learning rates and finalists, and one for testing.
    What has been trained is kept in the store (``<HF_HOME>/hf_leep``): after an interruption, the same call goes on
    with what is left of the budget.

    As in `hf_leep.rank`, candidates are loaded, run and trained in a process of their own: one that crashes it, or
    gives no sign of life, becomes a row with its reason, and the others go on.

    Args:
        report: a finished ranking, or the folder of one. Its data set and candidates must not have changed.
        top: number of candidates to train heads on, from the first; by default all that have a rank.
        fine_tune: fine-tune a shortlist: how many candidates, and for how long.
        models: the models in memory that were ranked, as ``(name, model, processor)``: a report does not hold them.
            They have their own weights again afterwards.
        dataset: where the data set is now, or the object that was ranked on; by default where it was.
        device: ``cpu``, ``cuda`` or ``mps``: for passes that are no longer in the store, and for fine-tuning.
        dtype: number type for passes that are no longer in the store; by default that of the ranking.
        hub: token, cache folder and pickled weights, for candidates and data sets on the Hub.
        candidate_timeout: time without a sign of life (a batch or a step of training done, bytes that arrived) after
            which a candidate is given up, in seconds or as text such as ``10m``.
        retry: try again the candidates that crashed their process in an earlier run.
        progress: show progress on stderr.
        command: the command line that made this call; reasons then name options as its flags.

    Returns:
        The report with ``validation`` or ``fine_tuning`` in its data: each candidate's accuracy with its standard
        error, and the correlations of each measure with accuracy, or with the order by fine-tuning.

    Raises:
        UserError: fewer than two candidates, no report in the folder, an unknown device or number type, rows other
            than those that were ranked, too few or not fit for fine-tuning, or a budget that is too short.
        TargetError: the data set cannot be read.
        ProcessError: no worker can be started.
    """
    with _own_options():
        if top is not None:
            options.check_count("top", top, at_least=2)
        check_device("device", device)
        limits = Execution(candidate_timeout=candidate_timeout, retry=retry)
        if dtype is not None:
            check_dtype("dtype", dtype)
        report = report if isinstance(report, Report) else Report.load(report)
        for name, record, given in (("fine_tune", FineTuning, fine_tune), ("hub", HubAccess, hub)):
            if given is not None and not isinstance(given, record):
                raise UserError(
                    f"{option(name)} is {with_article(type(given).__name__)}; give a hf_leep.{record.__name__}"
                )
        if fine_tune is not None and (top is not None or dtype is not None):
            instead = f"give {option('fine_tune.top')}" if top is not None else "fine-tuning is in float32"
            raise UserError(
                f"{option('top' if top is not None else 'dtype')} is for linear heads: leave it out with "
                f"{option('fine_tune')} ({instead})"
            )
        in_memory = by_name(models, report.candidates)
        with open_worker(limits.timeout_seconds, device) as worker:
            how = _How(in_memory, device, dtype, hub or HubAccess(), progress, limits, worker, command is not None)
            if fine_tune is not None:
                return _fine_tuned(report, fine_tune, dataset, how)
            return _with_heads(report, top, dataset, how)


def _with_heads(report: Report, top: int | None, dataset: DatasetLike | None, how: _How) -> Report:
    """The report with the accuracies of heads on the features of its candidates."""
    ranked = [candidate for candidate in report.candidates if is_ranked(candidate)][:top]
    if len(ranked) < 2:
        raise UserError(f"{len(ranked)} of the candidates has a rank; an order needs at least two candidates")
    target, rows = _reopened(report.data["target"], dataset, how)
    if np.bincount(target.labels).max() < 2:
        raise UserError("no class has two examples, so no head can be tested on examples that it was not fitted to")
    names = dict(zip(map(id, report.candidates), short_names(report.candidates), strict=True))
    trials = []
    with progress_bar(len(ranked), how.progress, "head") as bar:
        for candidate in ranked:
            bar.set_description(names[id(candidate)][-30:])
            trials.append(_trial(candidate, target, rows, how))
            bar.update(1)
    described: ReportData = {**report.data, "validation": validation_data(report.data, ranked, trials, top)}
    return replace(report, data=described)


def exit_code(report: Report, fine_tuned: bool = False) -> int:
    """0 if every candidate of a validation has an accuracy, 3 if some have, 1 if none has.

    Args:
        report: a report with ``validation``, or with ``fine_tuning``.
        fine_tuned: whether fine-tuning is asked about, where 0 means that every candidate could be trained.
    """
    if fine_tuned:
        tried = [c["place"] is not None and c["reason"] is None for c in report.data["fine_tuning"]["candidates"]]
        done = any(candidate["place"] is not None for candidate in report.data["fine_tuning"]["candidates"])
        return 0 if all(tried) else 3 if done else 1
    tried = [candidate["accuracy"] is not None for candidate in report.data["validation"]["candidates"]]
    return 0 if all(tried) else 3 if any(tried) else 1


@contextlib.contextmanager
def _own_options() -> Iterator[None]:
    """Name the options of Execution as the arguments of `validate` that they are."""
    try:
        yield
    except HfLeepError as error:
        error.args = (without_record(error.marked(), "execution"), *error.args[1:])
        raise


@dataclass(frozen=True)
class _How:
    """How candidates and rows are found and run."""

    models: Mapping[str, plan.ModelInMemory]
    device: Device | None
    dtype: Dtype | None
    hub: HubAccess
    progress: bool
    limits: Execution
    worker: Worker | None
    from_command_line: bool

    def spelled(self, reason: str | None) -> str | None:
        """A reason with options named as the caller names them."""
        return (
            None if reason is None else name_options(without_record(reason, "execution"), flags=self.from_command_line)
        )

    def client(self, store: Store) -> Client:
        """How to reach the Hub."""
        cache_dir = Path(self.hub.cache_dir) if self.hub.cache_dir else None
        return Client(self.hub.token, cache_dir, self.hub.allow_pickle, store.file_digest)


def _fine_tuned(report: Report, options: FineTuning, dataset: DatasetLike | None, how: _How) -> Report:
    """The report with the outcome of fine-tuning its shortlist."""
    known = report.data["target"]
    comparison.check(known["modality"], options)
    if how.worker is None:
        raise AssertionError  # of one of several processes, which have been refused
    chosen, joined = _shortlist(report, options.top)
    if not chosen:
        raise UserError("none of the candidates has a rank")
    target, rows = _reopened(known, dataset, how)
    store = Store(Store.default_root())
    trainers = Trainers(
        target=target,
        rows=rows,
        models=how.models,
        client=how.client(store),
        wanted=how.device,
        worker=how.worker,
        memory=memory_of_trainings(store, target, how.device, how.limits.retry),
        timeout=how.limits.timeout_seconds,
    )
    described = comparison.fine_tuned(
        comparison.Subject(candidates=chosen, names=short_names(chosen), joined=joined, trainers=trainers),
        options,
        store=store,
        num_ranked=sum(map(is_ranked, report.candidates)),
        progress=how.progress,
    )
    for one in described["candidates"]:
        one["reason"] = how.spelled(one["reason"])
    placed = [(candidate, one["place"]) for candidate, one in zip(chosen, described["candidates"], strict=True)]
    tried = [candidate for candidate, place in placed if place is not None]
    order = -np.array([place for _, place in placed if place is not None], dtype=np.float64)
    described["agreement"] = {
        measure: agreement_with(order, tried, measure, report.data) for measure in report.data["measures"]
    }
    return replace(report, data={**report.data, "fine_tuning": described})


def _shortlist(report: Report, top: int) -> tuple[list[CandidateData], int | None]:
    """The candidates to fine-tune, and the position of the one that is there by the second opinion alone.

    Untrained candidates are left out, unless there are no others.
    That one has no rank where it has no head that the measure of the order could use.
    """
    candidates = list({(c["id"], c["revision"]): c for c in report.candidates}.values())
    order = [k for k, candidate in enumerate(candidates) if is_ranked(candidate)]
    order = [k for k in order if not candidates[k]["untrained"]] or order
    opinion = report.data["second_opinion"]
    best = None if opinion is None else next((k for k, c in enumerate(candidates) if c["id"] == opinion["best"]), None)
    chosen = shortlist(order, top, best)
    return [candidates[k] for k in chosen], len(chosen) - 1 if chosen != order[:top] else None


def _reopened(known: TargetData, dataset: DatasetLike | None, how: _How) -> tuple[Target, data.Rows]:
    """Read exactly the rows that were ranked."""
    if dataset is None and known["dataset"].endswith(" object"):
        raise UserError(
            f"the ranking was of {known['dataset']} in memory: say where its rows are with {option('dataset')}"
        )
    used = known["num_examples"] if known["num_sentences"] is None else known["num_sentences"]
    bad = known.get("bad_rows", [])
    drawn = used + sum(row["drawn"] for row in bad)
    there_are = known["num_rows"] - sum(not row["drawn"] for row in bad)
    try:
        found = data.load(
            known["dataset"] if dataset is None else dataset,
            MODALITIES,
            config=known["config"],
            split=known["split"],
            revision=known["revision"] if dataset is None else None,
            label=known["label_column"],
            inputs=known["input_columns"],
            max_samples=drawn if known["streamed"] or drawn < there_are else None,
            streaming=known["streamed"],
            seed=known["seed"],
            skip_bad_rows=len(bad),
            progress=how.progress,
            token=how.hub.token,
            pin=None if dataset is None else partial(pin_dataset, client=Client(how.hub.token)),
        )
    except TargetError as error:
        if not any(option(name) in error.marked() for name in ("input", "label")):
            raise
        problem = error.marked().partition(":")[0].replace(option("input"), "column")  # the rest is about `rank`
        columns = ", ".join(map(repr, (*known["input_columns"], known["label_column"])))
        raise TargetError(f"this is not the data set that was ranked, with the columns {columns}: {problem}") from None
    target, rows = found
    which = np.flatnonzero(np.isin(target.row_ids, [row["row"] for row in bad]))
    if len(which):  # that passes found
        target, rows = without(target, which), rows.subset(np.setdiff1d(np.arange(len(rows)), which))
    if target.fingerprint != known["fingerprint"]:
        raise UserError(f"{target.dataset} has other rows than those that were ranked: rank them first")
    return target, replace(rows, reduced=FAST_DECODE in known["warnings"])  # the inputs that were ranked


def _trial(candidate: RankedData, target: Target, rows: data.Rows, how: _How) -> Score:
    """One candidate's accuracy, or why it has none."""
    try:
        with errors_of_candidates():
            return _judged(_extraction(candidate, target, rows, how))
    except (UserError, ProcessError, HubLimitError):
        raise
    except Exception as error:  # one bad candidate never stops the others, whatever it raises
        return Score(None, reason=how.spelled(plan.reason_of(error)))


def _extraction(candidate: RankedData, target: Target, rows: data.Rows, how: _How) -> Extraction:
    """The candidate's pass, from the store if it is there, or else run again."""
    ran_in = candidate["run"]["dtype"] if candidate["run"] else "float32"
    known: Dtype = next((name for name in DTYPES if name == ran_in), "float32")
    execution = replace(how.limits, device=how.device, dtype=how.dtype or known, fast_decode=rows.reduced)
    revision = candidate["revision"]
    if revision is None:
        return api.extract(in_memory(candidate, how.models), target, rows, execution=execution)
    local = revision.startswith("sha256:")
    name = candidate["id"] if local else f"{candidate['id']}@{revision}"
    found = api.extract(name, target, rows, execution=execution, hub=how.hub, worker=how.worker)
    if found.candidate.revision != revision:
        raise CandidateError("the folder has changed since it was ranked: rank it again")
    return found


def _judged(extraction: Extraction) -> Score:
    """The accuracy of a head on a candidate's features, each example left out, or each sentence with all its words."""
    accuracy = scoring.head_accuracy(extraction)
    if accuracy is None:
        raise CandidateError(extraction.missing.get("features", "the pass recorded no features"))
    return accuracy
