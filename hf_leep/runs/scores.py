"""Score a pass, and keep the scores in the store."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TypedDict, cast

from hf_leep import explain
from hf_leep.arrays import Integers
from hf_leep.measures import MEASURES, SCORE_VERSION
from hf_leep.ranking import scoring, uncertainty
from hf_leep.records import Candidate, Extraction, Result, Run, Score, Target
from hf_leep.runs.bars import label, progress_bar
from hf_leep.runs.stored_passes import INVALID, StoredCandidate, restore_candidate
from hf_leep.runs.threads import one_blas_thread
from hf_leep.store import JsonObject, Store
from hf_leep.text import plain

_MEANING = "_meaning"  # stored beside the scores; no measure's name begins with an underscore
_HEAD = "_head"  # and the accuracy of a linear head
_SUMMARY = ("reason", "headless", "num_source_classes", "effective_source_classes", "num_features")


class _Summary(TypedDict):
    """All of a stored result but its scores."""

    candidate: StoredCandidate
    run: JsonObject | None
    reason: str | None
    headless: bool
    num_source_classes: int | None
    effective_source_classes: float | None
    num_features: int | None


def compute(
    extraction: Extraction,
    measures: Sequence[str],
    progress: bool = False,
    advance: Callable[[int], object] = lambda _number: None,
) -> Result:
    """Score a pass on one BLAS thread.

    Args:
        extraction: the pass.
        measures: names of the measures.
        progress: show a bar that counts the measures, until they are done.
        advance: called after each measure, with 1.
    """

    def count() -> None:
        advance(1)
        bar.update()

    name = f"scoring {label(plain(Path(extraction.candidate.id).name))}"
    with one_blas_thread(), progress_bar(len(measures), progress, "measure", name, leave=False) as bar:
        return scoring.score(extraction, measures, count)


def score(
    extraction: Extraction,
    measures: tuple[str, ...],
    from_store: bool,
    progress: bool = False,
    advance: Callable[[int], object] = lambda _number: None,
) -> Result:
    """Score a pass and explain its predictions. Nothing is read, written or locked.

    Args:
        extraction: the pass.
        measures: names of the measures.
        from_store: whether an earlier run made the pass.
        progress: show a bar that counts the measures, until they are done.
        advance: called after each measure, with 1.
    """
    result = compute(extraction, measures, progress, advance)
    return replace(result, from_store=from_store, interpretation=explain.interpret(extraction))


@dataclass(frozen=True)
class StoredScores:
    """The stored scores of passes over a target.

    Attributes:
        target: the target.
        store: the store.
        measures: names of the measures.
        left_out: positions of the rows that are not scored.
    """

    target: Target
    store: Store
    measures: tuple[str, ...]
    left_out: Integers

    def load(self, key: str, candidate: Candidate) -> Result | None:
        """The result of a candidate; None unless the scores of all measures are stored.

        Args:
            key: the key of its pass.
            candidate: the candidate; the result has the name, card and licence that it has now.
        """
        stored = self.store.load_scores(key, self._labels, tuple(self._names.values()))
        if stored is None:
            return None
        summary, scores = stored
        if set(scores) != set(self._names.values()):
            return None
        by_name = {name: scores[stored_name] for name, stored_name in self._names.items()}
        try:
            return _restore(cast(_Summary, summary), by_name, candidate)
        except INVALID as error:  # records of another version
            self.store.drop(key, error, ("scores",))
            return None

    def save(self, key: str, result: Result) -> None:
        """Store a result.

        Args:
            key: the key of its pass.
            result: the scores.
        """
        scores = {measure: vars(score) for measure, score in result.scores.items()}
        scores[_MEANING] = {**asdict(result.interpretation), "influence": None}
        scores[_HEAD] = vars(result.head_accuracy or Score(None))
        summary = {
            "candidate": asdict(result.candidate),
            "run": asdict(result.run) if result.run else None,
            **{name: getattr(result, name) for name in _SUMMARY},
        }
        names = self._names
        self.store.save_scores(key, self._labels, summary, {names[name]: score for name, score in scores.items()})

    @property
    def _labels(self) -> str:
        """Fingerprint of the labels, of the code that computes scores of them, and of its confidence level."""
        scored = self.target.labels.astype("<i8").tobytes() + self.left_out.astype("<i8").tobytes()
        labels = hashlib.sha256(scored).hexdigest()[:16]
        return f"{labels}-{version('hf-leep')}-v{SCORE_VERSION}-{uncertainty.CONFIDENCE:g}"

    @property
    def _names(self) -> dict[str, str]:
        """Measure → its name in the store."""
        return {
            **{measure: MEASURES.stored_name(measure) for measure in self.measures},
            _MEANING: _MEANING,
            _HEAD: _HEAD,
        }


def _restore(summary: _Summary, stored: Mapping[str, JsonObject], candidate: Candidate) -> Result:
    interpretation = explain.restored(stored[_MEANING])
    scores = {
        measure: Score(
            **{
                **score,
                "warnings": tuple(score["warnings"]),
                "interval": None if score["interval"] is None else tuple(score["interval"]),
            }
        )
        for measure, score in stored.items()
        if measure != _MEANING
    }
    head = scores.pop(_HEAD)
    reason = None  # it was stored with the reasons of the measures of that run
    if all(score.value is None for score in scores.values()):
        reason = "; ".join(dict.fromkeys(score.reason for score in scores.values() if score.reason))
    return Result(
        restore_candidate(summary["candidate"], candidate),
        scores,
        reason=reason,
        headless=summary["headless"],
        num_source_classes=summary["num_source_classes"],
        effective_source_classes=summary["effective_source_classes"],
        num_features=summary["num_features"],
        head_accuracy=None if head.value is None and head.reason is None else head,
        run=Run(**summary["run"]) if summary["run"] else None,
        from_store=True,
        interpretation=interpretation,
    )
