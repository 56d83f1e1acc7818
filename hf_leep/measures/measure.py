"""The record that describes a measure, the same for the measures of hf_leep and for those of other packages."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from hf_leep.arrays import Float64, Integers
from hf_leep.measures import unseen
from hf_leep.measures.blocks import standard_error, summed_by_draw


@dataclass(frozen=True, kw_only=True)
class Measure:
    """A transferability measure: its functions, and what the rest of the package has to know about it.

    Each file of a measure ends with ``MEASURE = Measure(...)``. Another package exports the same record through an
    entry point of the group ``hf_leep.measures``.

    Attributes:
        name: key in kebab-case, used on the command line and in report.json.
        title: name for readers, such as ``"H-score"``.
        needs: the part of an extraction that it scores, ``"probabilities"`` ``[n, s]`` or ``"features"`` ``[n, d]``.
        unit: unit of the score, such as ``"nats"``; empty for a dimensionless score.
        higher_is_better: whether a higher score is better.
        reference: the publication that defines it.
        summary: one line that explains it in a table.
        function: ``(inputs, labels) -> float``, the score.
        influence: ``(inputs, labels) -> (score, values)``, where the values have mean 0 and their standard deviation,
            divided by the square root of their number, is the standard error of the score. Either one value an
            example (its influence on the score, ``[n]``), or one a resample, see ``resamples``.
        checked_by: name of a measure that is always computed too: two candidates differ only if both measures say so.
            For scores whose in-sample bias differs between candidates.
        resamples: whether ``influence`` returns one value a resample and takes the draws of the examples (see
            `influence_by_draw`) as its third argument.
        takes_draws: whether the score depends on which examples are drawn together: ``function`` then takes ``draws``
            by name, and ``influence`` as its third argument. For measures that score examples by others, so that no
            example is scored by one of its own draw.
        influence_takes_draws: whether ``influence`` takes the draws as its third argument though the score does not
            depend on them, and returns values of single examples all the same.
        saturates_at: the score of every feature matrix in general position with n ≤ d, as text: there the measure
            says nothing, and candidates get no score. None for measures without this defect.
        shuffled_baseline: whether the score on shuffled labels is computed too, and two candidates differ only if
            they also differ in what they score above it. For measures fitted to the features that they score, which
            rise with the width of the features even for noise.
        mean_of: what the score is the mean of, or close to it, one for each example: log-likelihoods of its class, in
            nats, or outcomes, 1 where it is classified correctly and else 0, or the probability of that. The standard
            error then allows for errors that the examples happen not to contain (`hf_leep.measures.unseen`), and the
            interval stays in the range of the score. None for other scores.
        instead: name of a measure in the same unit, which scores a candidate whose pass has none of what this one
            needs; the score says so. None: there is no score then.
        uninformed: labels → the score of predictions that are the same for all examples. Where a score is not above
            that it says nothing, and the candidate gets none.
        by_chance: features, labels → the score that shuffled labels have on average, as a share of the largest one.
            Where it is more than half, the score has a warning.
        votes: whether it takes part in the consensus of the measures; False for a baseline that ignores the labels.
        shares_vote_with: name of the related measure that votes for both in the consensus. A measure with
            ``checked_by`` shares the vote of that one.

    Examples:
        A measure of source probabilities that ignores the labels: how certain the predictions are.

        >>> import numpy as np
        >>> from hf_leep.measures import Measure
        >>> def influence(probabilities, labels):
        ...     p = np.asarray(probabilities)
        ...     terms = np.sum(p * np.log(p, where=p > 0, out=np.zeros_like(p)), axis=1)  # minus the entropy [n]
        ...     return float(terms.mean()), terms - terms.mean()
        >>> MEASURE = Measure(
        ...     name="negative-mean-entropy",
        ...     title="negative mean entropy",
        ...     needs="probabilities",
        ...     unit="nats",
        ...     reference="Shannon 1948",
        ...     summary="how certain the source predictions are",
        ...     function=lambda probabilities, labels: influence(probabilities, labels)[0],
        ...     influence=influence,
        ...     votes=False,
        ... )
        >>> round(MEASURE.function([[0.9, 0.1], [0.5, 0.5]], [0, 1]), 4)
        -0.5091
    """

    name: str
    title: str
    needs: Literal["probabilities", "features"]
    unit: str
    higher_is_better: bool = True
    reference: str
    summary: str
    function: Callable[[ArrayLike, ArrayLike], float]
    influence: Callable[..., tuple[float, Float64]]
    checked_by: str | None = None
    resamples: bool = False
    takes_draws: bool = False
    influence_takes_draws: bool = False
    saturates_at: str | None = None
    shuffled_baseline: bool = False
    mean_of: Literal["log-likelihoods", "outcomes"] | None = None
    instead: str | None = None
    uninformed: Callable[[ArrayLike], float] | None = None
    by_chance: Callable[[ArrayLike, ArrayLike], float] | None = None
    votes: bool = True
    shares_vote_with: str | None = None

    def value_by_draw(self, inputs: ArrayLike, labels: ArrayLike, draws: Integers | None) -> float:
        """Return the score where several examples may form one draw.

        Args:
            inputs: as for `influence_by_draw`.
            labels: as for `influence_by_draw`.
            draws: as for `influence_by_draw`; one draw is enough for measures that do not take the draws.
        """
        function: Callable[..., float] = self.function
        return float(function(inputs, labels, draws=draws) if self.takes_draws else function(inputs, labels))

    def influence_by_draw(self, inputs: ArrayLike, labels: ArrayLike, draws: Integers | None) -> tuple[float, Float64]:
        """Return the score and the values behind its standard error where several examples may form one draw.

        The words of a sentence, for instance, are drawn together, so they are not independent of one another.

        Args:
            inputs: probabilities ``[n, s]`` or features ``[n, d]``, whichever the measure needs.
            labels: target labels, ``[n]``.
            draws: index of the draw that each example belongs to, ``[n]``: every index from 0 to g−1 occurs, g ≥ 2.
                None if each example is a draw of its own.

        Returns:
            The score, and values of mean 0 whose standard deviation, divided by the square root of their number, is
            its standard error: one an example or draw, or one a resample.
        """
        if draws is None:
            return self.influence(inputs, labels)
        if self.resamples:
            return self.influence(inputs, labels, draws)
        takes_draws = self.takes_draws or self.influence_takes_draws
        value, influence = self.influence(inputs, labels, *([draws] if takes_draws else []))
        return value, summed_by_draw(influence, draws)

    def unseen_variance(self, value: float, influence: Float64, num_draws: int) -> float:
        """Return the part of the squared standard error for errors that the examples do not contain; 0 for most.

        Args:
            value: the score.
            influence: the values behind its standard error, from `influence_by_draw`.
            num_draws: number of independent draws: of examples, or of groups of them.
        """
        if self.mean_of == "outcomes":
            return unseen.of_accuracy(value, num_draws)
        if self.mean_of != "log-likelihoods":
            return 0.0
        if self.resamples:
            return unseen.of_resampled_log_likelihood(value, influence, num_draws)
        return unseen.of_log_likelihoods(value, influence)

    def standard_error(self, value: float, influence: Float64, num_draws: int) -> float:
        """Return the standard error of a score, with `unseen_variance`; arguments as there."""
        return float(np.hypot(standard_error(influence), self.unseen_variance(value, influence, num_draws) ** 0.5))


@dataclass(frozen=True)
class Certificate:
    """What the checks of some measures found.

    Attributes:
        num_checks: number of checks.
        failed: measure and claim of each check that failed.
        unchecked: measures that have no checks, since they come from other packages.
    """

    num_checks: int
    failed: tuple[str, ...] = ()
    unchecked: tuple[str, ...] = ()
