"""Compare candidates by fine-tuning them: successive halving over candidates and learning rates.

Jamieson & Talwalkar: Non-stochastic Best Arm Identification and Hyperparameter Optimization, AISTATS 2016,
algorithm 1, with three changes. Each rung trains the pre-trained network anew, with a whole warm-up and cosine decay,
so that a short rung is judged as it would end. At most three finalists are trained with three seeds each. Finalists
are judged on rows that have chosen nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from hf_leep.arrays import Integers
from hf_leep.errors import HubLimitError, ProcessError, UserError, option
from hf_leep.runs.plan import reason_of
from hf_leep.text import duration
from hf_leep.training.journal import Journal, Outcome, Trial
from hf_leep.training.records import Compared, Progress, Recipe, Settings, Trained
from hf_leep.training.splitting import Split

Train: TypeAlias = Callable[[Recipe, Integers, Integers, Callable[[int], object]], Trained]
"""Trains a candidate: the recipe, the rows to train and to evaluate on, and what is told of the steps done."""

GROWTH = 3  # each rung takes so many times the steps of the one before
SEEDS = 3  # of the finalists
MAX_FINALISTS = 3
MIN_STEPS = 6  # of the first rung, below which no network has learnt anything
MAX_EPOCHS = 30  # of a finalist: more steps are not worth a budget
_RUNGS = 3  # the third is the finalists'
_PROBE_STEPS = 3  # to time a network with, before the budget is laid out
_TOO_LONG = 2.0  # times the budget, beyond which a comparison is refused: a few steps are timed roughly
_MARGIN = 0.85  # share of the budget to plan for: trials differ in how long they take


@dataclass
class _Candidate:
    name: str
    train: Train
    seconds_per_step: float = 0.0
    overhead: float = 0.0  # seconds of loading and evaluating, a trial
    seconds: float = 0.0
    best: tuple[float, Outcome, int] | None = None  # learning rate, outcome and steps in the last rung
    outcomes: dict[float, Outcome] = field(default_factory=dict)  # of the last rung, by learning rate
    chosen: list[NDArray[np.bool_]] = field(default_factory=list)  # outcomes of its best rate in each rung


def compare(
    candidates: Mapping[str, Train],
    split: Split,
    settings: Settings,
    *,
    journal: Journal,
    joined: str | None = None,
    suspects: Collection[str] = (),
    tell: Callable[[Progress], object] = lambda _progress: None,
    advance: Callable[[int], object] = lambda _steps: None,
) -> list[Compared]:
    """Fine-tune candidates in growing rungs; the finalists are judged.

    Rung 1 trains every candidate with every learning rate, rung 2 the better half of the candidates, at least three,
    with their better rates for three times the steps, and rung 3 trains those of them that the choosing rows cannot
    tell from the best (two or three) for nine times the steps, with three seeds each, on the training and the choosing
    rows. Once the budget is spent, no further seed is started.

    Args:
        candidates: name → what trains it.
        split: which rows train, choose and judge.
        settings: budget or steps, rates and seeds.
        journal: what has been trained before is not trained again.
        joined: the candidate that is there by the second opinion alone, for messages.
        suspects: candidates at which an earlier run was killed: they are the last of each round.
        tell: called before each trial.
        advance: called with the number of steps done since, 0 as a sign of life.

    Returns:
        One for each candidate, in the order given.

    Raises:
        UserError: neither a budget nor steps, or a budget that is too short for the fewest steps.
    """
    if (settings.budget is None) == (settings.steps is None):
        raise UserError("fine-tuning takes either a budget or a number of steps")
    run = _Run(candidates, split, settings, journal, joined, suspects, tell, advance)
    return run.compare()


class _Run:
    """A comparison under way."""

    def __init__(
        self,
        candidates: Mapping[str, Train],
        split: Split,
        settings: Settings,
        journal: Journal,
        joined: str | None,
        suspects: Collection[str],
        tell: Callable[[Progress], object],
        advance: Callable[[int], object],
    ) -> None:
        self._all = [_Candidate(name, train) for name, train in candidates.items()]
        self._split, self._settings = split, settings
        self._journal, self._joined, self._suspects = journal, joined, suspects
        self._tell, self._advance = tell, advance
        self._started = time.perf_counter() - journal.seconds
        most = MAX_EPOCHS * -(-(len(split.train) + len(split.choose)) // settings.batch_size)
        self._most_steps = max(MIN_STEPS, most // GROWTH ** (_RUNGS - 1))  # of the first rung

    def compare(self) -> list[Compared]:
        """Run all rungs."""
        if self._settings.steps is None:
            for candidate in sorted(self._all, key=self._is_suspect):
                self._probe(candidate)
                self._check_budget()
        self._rung(0, self._first(self._able()))
        alive = self._better(self._able(), self._num_survivors)
        self._rung(1, [(c, rate) for c in alive for rate in _better_rates(c)])
        finalists = self._finalists([c for c in self._able() if c in alive])
        judged = self._final(finalists)
        return [self._described(candidate, judged.get(candidate.name)) for candidate in self._all]

    @property
    def _num_survivors(self) -> int:
        """How many candidates reach rung 2."""
        return max(MAX_FINALISTS, -(-len(self._all) // 2))

    def _spent(self) -> float:
        """Seconds spent so far, by this process and earlier ones."""
        return time.perf_counter() - self._started

    def _first(self, candidates: Sequence[_Candidate]) -> list[tuple[_Candidate, float]]:
        """What the first rung trains: each candidate with each learning rate."""
        return [(c, rate) for c in candidates for rate in self._settings.learning_rates]

    def _check_budget(self) -> None:
        """Raise if the fewest steps of the candidates timed so far alone take longer than the budget."""
        budget = self._settings.budget
        timed = [c for c in self._able() if c.seconds_per_step > 0]
        if budget is None or not timed or self._journal.steps(0) is not None:
            return
        if self._fewest(timed) > _TOO_LONG * budget:
            mean = sum(c.seconds_per_step for c in timed) / len(timed)
            able = [c if c in timed else replace(c, seconds_per_step=mean) for c in self._able()]  # most likely
            also = f" ({self._joined} is one of them because of its linear head)" if self._joined else ""
            number = len(self._all)
            these = "this candidate" if number == 1 else f"these {number} candidates"
            raise UserError(
                f"{option('fine_tune.budget')} is {duration(budget)}, but training {these}{also} takes "
                f"at least about {duration(self._fewest(able))} here: give it more{self._fewer(able, budget)}"
            )

    def _fewer(self, candidates: Sequence[_Candidate], budget: float) -> str:
        """Say how many of the candidates fit into the budget, if any do."""
        first = [c for c in candidates if c.name != self._joined]
        joined = [c for c in candidates if c.name == self._joined]
        fitting = [k for k in range(1, len(first)) if self._fewest([*first[:k], *joined]) <= budget]
        if not fitting:
            return ""
        which = "the first candidate" if fitting[-1] == 1 else f"the first {fitting[-1]} candidates"
        return f", or take only {which} ({option('fine_tune.top')} {fitting[-1]})"

    def _fewest(self, candidates: Sequence[_Candidate]) -> float:
        """Seconds of the fewest steps of all rungs."""
        return MIN_STEPS * self._cost(0, self._first(candidates))[0] / _MARGIN

    def _is_suspect(self, candidate: _Candidate) -> bool:
        return candidate.name in self._suspects

    def _able(self) -> list[_Candidate]:
        return [c for c in self._all if self._journal.failure(c.name) is None]

    def _probe(self, candidate: _Candidate) -> None:
        """Time a candidate for the budget; its steps are decided by the timing, so it is not kept."""
        if self._journal.steps(_RUNGS - 1) is not None or self._journal.failure(candidate.name) is not None:
            return
        known = self._journal.timing(candidate.name)
        if known is None or self._journal.steps(0) is None:  # nothing depends on an older timing yet
            recipe = Recipe(self._settings.learning_rates[0], _PROBE_STEPS, batch_size=self._settings.batch_size)
            outcome = self._attempt(candidate, recipe, self._split.train, self._split.choose)
            if outcome is None:
                return
            per_step = outcome.seconds_per_step
            known = per_step, max(0.0, outcome.seconds - _PROBE_STEPS * per_step)
            self._journal.time(candidate.name, *known, outcome.seconds)
        candidate.seconds_per_step, candidate.overhead = known

    def _rung(self, rung: int, pairs: Sequence[tuple[_Candidate, float]]) -> None:
        """Train candidates with learning rates, and keep what the choosing rows say of each."""
        steps = self._steps(rung, pairs)
        for candidate in {id(c): c for c, _ in pairs}.values():
            candidate.outcomes = {}
        for candidate, rate in sorted(pairs, key=lambda pair: self._is_suspect(pair[0])):
            trial = Trial(candidate.name, rate, steps, self._settings.seed, False)
            outcome = self._outcome(candidate, trial, rung, pairs)
            if outcome is not None and np.isfinite(outcome.loss):
                candidate.outcomes[rate] = outcome
        for candidate in {id(c): c for c, _ in pairs}.values():
            candidate.best = None
            if candidate.outcomes:
                rate = max(candidate.outcomes, key=lambda r: _merit(candidate.outcomes[r]))
                candidate.best = (rate, candidate.outcomes[rate], steps)
                candidate.chosen.append(candidate.outcomes[rate].correct)

    def _final(self, finalists: Sequence[_Candidate]) -> dict[str, tuple[int, list[Outcome]]]:
        """Train the finalists with several seeds: name → steps and outcomes on the judging rows."""
        pairs = [(c, c.best[0]) for c in finalists for _ in range(SEEDS) if c.best is not None]
        if not pairs:
            return {}
        steps = self._steps(_RUNGS - 1, pairs)
        judged: dict[str, tuple[int, list[Outcome]]] = {}
        for seed in range(self._settings.seed, self._settings.seed + SEEDS):
            in_turn = sorted(finalists, key=self._is_suspect)
            trials = [(c, Trial(c.name, c.best[0], steps, seed, True)) for c in in_turn if c.best is not None]
            new = any(self._journal.outcome(trial) is None for _, trial in trials)
            if judged and new and self._settings.budget is not None and self._spent() > self._settings.budget:
                break
            for candidate, trial in trials:
                outcome = self._outcome(candidate, trial, _RUNGS - 1, pairs)
                if outcome is not None:
                    judged.setdefault(candidate.name, (steps, []))[1].append(outcome)
        return judged

    def _outcome(
        self, candidate: _Candidate, trial: Trial, rung: int, pairs: Sequence[tuple[_Candidate, float]]
    ) -> Outcome | None:
        """What comes of a trial: from the journal, or trained now; None where the candidate fails."""
        known = self._journal.outcome(trial)
        if known is None and self._journal.failure(candidate.name) is None:
            s = self._settings
            planned = sum(c.overhead + c.seconds_per_step * trial.steps for c, _ in pairs)
            left = None if s.budget is None else s.budget - self._spent()
            self._tell(
                Progress(rung + 1, _RUNGS, trial.steps, len(pairs), candidate.name, trial.learning_rate, planned, left)
            )
            recipe = Recipe(trial.learning_rate, trial.steps, trial.seed, s.batch_size, s.flip)
            train, evaluate = self._split.train, self._split.choose
            if trial.with_choosing:
                train, evaluate = np.sort(np.concatenate([train, evaluate])), self._split.judge
            known = self._attempt(candidate, recipe, train, evaluate)
            if known is not None:
                self._journal.add(trial, known)
        if known is not None:
            candidate.seconds += known.seconds
            candidate.seconds_per_step = known.seconds_per_step  # of more steps than the first timing
            candidate.overhead = max(0.0, known.seconds - trial.steps * known.seconds_per_step)
        return known

    def _attempt(self, candidate: _Candidate, recipe: Recipe, train: Integers, evaluate: Integers) -> Outcome | None:
        try:
            trained = candidate.train(recipe, train, evaluate, self._advance)
        except (UserError, ProcessError, HubLimitError):
            raise
        except Exception as error:  # one bad candidate never stops the others, whatever it raises
            self._journal.fail(candidate.name, reason_of(error))
            return None
        return Outcome(
            trained.correct,
            trained.loss,
            trained.seconds_per_step,
            trained.seconds,
            trained.micro_batch,
            trained.keep_probability,
        )

    def _steps(self, rung: int, pairs: Sequence[tuple[_Candidate, float]]) -> int:
        """Steps of each trial of a rung: so many that all rungs from here on fit into what is left of the budget."""
        decided = self._journal.steps(rung)
        if decided is not None:
            return decided
        if self._settings.steps is not None:
            return max(1, self._settings.steps // int(GROWTH ** (_RUNGS - 1 - rung)))
        left = _MARGIN * (self._settings.budget or 0.0) - self._spent()
        cost, fixed = self._cost(rung, pairs)
        steps = int((left - fixed) / cost) if cost > 0 else self._most_steps
        growth: int = GROWTH**rung
        steps = min(max(steps, MIN_STEPS * growth), self._most_steps * growth)
        self._journal.decide(rung, steps)
        return int(steps)

    def _cost(self, rung: int, pairs: Sequence[tuple[_Candidate, float]]) -> tuple[float, float]:
        """Seconds for each step of this rung, those of later rungs with it, and seconds whatever the steps."""
        cost = sum(c.seconds_per_step for c, _ in pairs)
        fixed = sum(c.overhead for c, _ in pairs)
        dearest = sorted({id(c): c for c, _ in pairs}.values(), key=lambda c: -c.seconds_per_step)
        rates = len(self._settings.learning_rates)
        if rung < 1:
            survivors = dearest[: self._num_survivors]
            cost += GROWTH * max(1, rates - 1) * sum(c.seconds_per_step for c in survivors)
            fixed += max(1, rates - 1) * sum(c.overhead for c in survivors)
        if rung < _RUNGS - 1:
            finalists = dearest[:MAX_FINALISTS]
            cost += GROWTH ** (_RUNGS - 1 - rung) * SEEDS * sum(c.seconds_per_step for c in finalists)
            fixed += SEEDS * sum(c.overhead for c in finalists)
        return cost, fixed

    def _better(self, candidates: Sequence[_Candidate], number: int) -> list[_Candidate]:
        able = [c for c in candidates if c.best is not None]
        return sorted(able, key=lambda c: _merit(c.best[1]), reverse=True)[:number]  # type: ignore[index]

    def _finalists(self, candidates: Sequence[_Candidate]) -> list[_Candidate]:
        """The best two, and a third that the choosing rows cannot tell from the best."""
        ordered = self._better(candidates, MAX_FINALISTS)
        if len(ordered) < MAX_FINALISTS:
            return ordered
        best, third = (c.best[1].correct.astype(float) for c in (ordered[0], ordered[2]) if c.best is not None)
        gap = best - third
        error = gap.std(ddof=1) / np.sqrt(len(gap))
        return ordered if gap.mean() <= 2 * error else ordered[:2]

    def _described(self, candidate: _Candidate, judged: tuple[int, list[Outcome]] | None) -> Compared:
        found = Compared(candidate.name, seconds=candidate.seconds, batch_size=self._settings.batch_size)
        reason = self._journal.failure(candidate.name)
        if candidate.best is None or (reason and judged is None):
            return replace(found, reason=reason or "training diverged with every learning rate")
        rate, outcome, steps = candidate.best
        found = replace(
            found,
            learning_rate=rate,
            steps=steps,
            chosen_by=outcome.accuracy,
            chosen=tuple(candidate.chosen),
            micro_batch=outcome.micro_batch,
            keep_probability=outcome.keep_probability,
        )
        if judged is None:
            return found
        steps, outcomes = judged
        return replace(
            found,
            steps=steps,
            reason=reason,
            finalist=True,
            correct=np.array([o.correct for o in outcomes]),
            micro_batch=min(o.micro_batch for o in outcomes),
        )


def _merit(outcome: Outcome) -> tuple[float, float]:
    """What survivors are chosen by: accuracy, then the smaller loss."""
    return outcome.accuracy, -outcome.loss


def _better_rates(candidate: _Candidate) -> list[float]:
    """A candidate's learning rates without the worst one."""
    ordered = sorted(candidate.outcomes, key=lambda rate: _merit(candidate.outcomes[rate]), reverse=True)
    return ordered[: max(1, len(ordered) - 1)]
