"""The measures: pure functions from arrays to a score. Importing this costs numpy, nothing more.

>>> from hf_leep import measures
>>> probabilities = [[0.9, 0.1], [0.8, 0.2], [0.2, 0.8], [0.3, 0.7]]
>>> round(measures.leep(probabilities, [0, 0, 1, 1]), 4)
-0.384
>>> measures.nce(probabilities, [0, 0, 1, 1])
0.0
"""

from __future__ import annotations

import difflib
import hashlib
import re
import warnings
from collections import UserDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from numpy.typing import ArrayLike

from hf_leep.arrays import Float64, Integers
from hf_leep.errors import MeasureError, one_line
from hf_leep.measures import gbc as _gbc
from hf_leep.measures import h_score as _h_score
from hf_leep.measures import knn as _knn
from hf_leep.measures import leave_one_out_leep as _leave_one_out_leep
from hf_leep.measures import leep as _leep
from hf_leep.measures import lfc as _lfc
from hf_leep.measures import linear_probe as _linear_probe
from hf_leep.measures import logme as _logme
from hf_leep.measures import n_leep as _n_leep
from hf_leep.measures import nce as _nce
from hf_leep.measures import pactran_dirichlet as _pactran_dirichlet
from hf_leep.measures import pactran_gaussian as _pactran_gaussian
from hf_leep.measures import parc as _parc
from hf_leep.measures import regularised_h_score as _regularised_h_score
from hf_leep.measures import sfda as _sfda
from hf_leep.measures import stable_rank as _stable_rank
from hf_leep.measures import transrate as _transrate
from hf_leep.measures.blocks import standard_error as _standard_error
from hf_leep.measures.blocks import summed_by_draw
from hf_leep.measures.gbc import gbc
from hf_leep.measures.h_score import h_score
from hf_leep.measures.knn import knn
from hf_leep.measures.leave_one_out_leep import leave_one_out_leep
from hf_leep.measures.leep import leep
from hf_leep.measures.lfc import lfc
from hf_leep.measures.linear_probe import linear_probe
from hf_leep.measures.logme import logme, logme_regression
from hf_leep.measures.n_leep import n_leep
from hf_leep.measures.nce import nce
from hf_leep.measures.pactran_dirichlet import pactran_dirichlet
from hf_leep.measures.pactran_gaussian import pactran_gaussian
from hf_leep.measures.parc import parc
from hf_leep.measures.regularised_h_score import regularised_h_score
from hf_leep.measures.sfda import sfda
from hf_leep.measures.stable_rank import stable_rank
from hf_leep.measures.transrate import transrate

__all__ = [
    "MEASURES",
    "SCORE_VERSION",
    "Measure",
    "find",
    "gbc",
    "h_score",
    "knn",
    "leave_one_out_leep",
    "leep",
    "lfc",
    "linear_probe",
    "logme",
    "logme_regression",
    "n_leep",
    "nce",
    "pactran_dirichlet",
    "pactran_gaussian",
    "parc",
    "regularised_h_score",
    "sfda",
    "stable_rank",
    "standard_error",
    "transrate",
]


SCORE_VERSION = 8  # part of each stored score's name: raise it when numbers, warnings or what they mean change


@dataclass(frozen=True)
class Measure:
    """One measure of transferability.

    Attributes:
        name: kebab-case key, as on the command line and in report.json.
        title: how people write it.
        needs: which part of an extraction it scores, ``"probabilities"`` or ``"features"``.
        unit: unit of the score.
        higher_is_better: the orientation; True for all measures so far.
        reference: where it comes from.
        summary: one line for someone who reads a table.
        function: ``(inputs, labels) -> float``.
        influence: ``(inputs, labels) -> (value, [n])``: the score and each example's influence on it, mean 0.
        checked_by: the measure that has to agree before two candidates count as different, for in-sample scores whose
            bias differs between candidates.
        noise_scores: of a measure of features that can be fitted exactly: what any features, noise included, score
            when n ≤ d.
        resamples: whether ``influence`` is of resamples, not of examples, and takes the independent draws as a third
            argument.
        in_sample: of a measure of features that is fitted to the very examples that it scores, so that noise scores
            too, the more the wider it is: it scores shuffled labels as well, and two candidates count as different
            only if what they score above that differs, too.
        kin: measures of one kind have one vote in a consensus: the name of the one that votes for them. Those checked
            by another are that one's kin.
        votes: whether it has a vote; a baseline that looks at no label has none.
        holds_out: of a measure that scores examples by others: whether ``influence`` takes the independent draws as a
            third argument, so that no example is scored by another of its draw.
    """

    name: str
    title: str
    needs: Literal["probabilities", "features"]
    unit: str
    higher_is_better: bool
    reference: str
    summary: str
    function: Callable[[ArrayLike, ArrayLike], float]
    influence: Callable[..., tuple[float, Float64]]
    checked_by: str | None = None
    noise_scores: str | None = None
    resamples: bool = False
    in_sample: bool = False
    kin: str | None = None
    votes: bool = True
    holds_out: bool = False

    def influence_by_draw(self, inputs: ArrayLike, labels: ArrayLike, draws: Integers | None) -> tuple[float, Float64]:
        """Score, and values of mean 0 whose std/√(their number) is its error, where a draw may be of several examples.

        Args:
            inputs: probabilities ``[n, s]`` or features ``[n, d]``, as the measure needs.
            labels: target labels, ``[n]``.
            draws: which independent draw each example is of, 0 … g−1 with g ≥ 2, all occurring, ``[n]``; None where
                each is one of its own.
        """
        if draws is None:
            return self.influence(inputs, labels)
        if self.resamples:
            return self.influence(inputs, labels, draws)
        value, influence = self.influence(inputs, labels, *([draws] if self.holds_out else []))
        return value, summed_by_draw(influence, draws)


GROUP = "hf_leep.measures"  # of the entry points through which other packages add measures


class _Registry(UserDict[str, Measure]):
    """Measures by name, in either spelling; listed in kebab-case.

    Those of other packages (entry points of the group ``hf_leep.measures``, each a `Measure`) are loaded when an
    unknown name is asked for, or all are listed, for the first time. One that fails is left out with a warning.
    """

    def __init__(self, own: Mapping[str, Measure]) -> None:
        self.problems: list[str] = []  # plugins that were left out, and why
        self._packages: dict[str, str] = {}  # measure of another package → the package and its version
        self._asked = False
        super().__init__(own)

    def __getitem__(self, name: str) -> Measure:
        key = name.replace("_", "-")
        if key not in self.data:
            self._ask_others()
        return super().__getitem__(key)

    def __contains__(self, name: object) -> bool:
        if not isinstance(name, str):
            return False
        key = name.replace("_", "-")
        if key not in self.data:
            self._ask_others()
        return key in self.data

    def __iter__(self) -> Iterator[str]:
        self._ask_others()
        return super().__iter__()

    def __len__(self) -> int:
        self._ask_others()
        return super().__len__()

    def stored_name(self, name: str) -> str:
        """Name under which scores are stored: for a measure of another package, one for each version of that."""
        key = find(name).name
        package = self._packages.get(key)
        return key if package is None else f"{key}-{hashlib.sha256(package.encode()).hexdigest()[:16]}"

    def _ask_others(self) -> None:
        if self._asked:
            return
        self._asked = True  # first: a plugin may itself look into the registry
        from importlib.metadata import entry_points

        for entry in sorted(entry_points(group=GROUP), key=lambda entry: (entry.name, entry.value)):
            try:
                measure = entry.load()
                fault = _fault(measure, self.data)
            except Exception as error:  # whatever another package does, these measures go on
                fault = f"{type(error).__name__}: {one_line(error)}"
            package = entry.dist.name if entry.dist is not None else "an unknown package"
            if fault is None:
                self.data[measure.name] = measure
                self._packages[measure.name] = package if entry.dist is None else f"{package} {entry.dist.version}"
                continue
            self.problems.append(f"measure {entry.name!r} of {package} was left out: {fault}")
            warnings.warn(self.problems[-1], RuntimeWarning, stacklevel=3)


def _fault(measure: object, known: Mapping[str, Measure]) -> str | None:
    """What keeps an object that another package offers from being a measure; None if nothing does."""
    if not isinstance(measure, Measure):
        return f"its entry point leads to {type(measure).__name__}, not to a hf_leep.measures.Measure"
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", measure.name):
        return f"its name {measure.name!r} is not in kebab-case"
    if measure.name in known:
        return f"there is a measure {measure.name!r} already"
    if str(measure.needs) not in ("probabilities", "features"):
        return f"it needs {measure.needs!r}, which is neither probabilities nor features"
    functions: tuple[object, ...] = (measure.function, measure.influence)
    if not all(callable(function) for function in functions):
        return "its function or influence cannot be called"
    if measure.checked_by is not None and measure.checked_by not in known:
        return f"it is checked by {measure.checked_by!r}, which is no measure"
    if measure.kin is not None and measure.kin not in known:
        return f"it is kin to {measure.kin!r}, which is no measure"
    return None


MEASURES = _Registry(
    {
        measure.name: measure
        for measure in (
            Measure(
                "leep", "LEEP", "probabilities", "nats", True,
                "Nguyen et al., ICML 2020, eq. (2)",
                "how well source predictions explain the target labels; in-sample",
                leep, _leep.influence, "leave-one-out-leep",
            ),
            Measure(
                "leave-one-out-leep", "leave-one-out LEEP", "probabilities", "nats", True,
                "hf_leep, after Nguyen et al., ICML 2020, eq. (2)",
                "LEEP with each example scored by all the others: not fooled by many source classes",
                leave_one_out_leep, _leave_one_out_leep.influence,
            ),
            Measure(
                "nce", "NCE", "probabilities", "nats", True,
                "Tran et al., ICCV 2019",
                "LEEP on the source's top prediction alone",
                nce, _nce.influence, "leave-one-out-leep",
            ),
            Measure(
                "h-score", "H-score", "features", "", True,
                "Bao et al., ICIP 2019",
                "share of feature variance between the classes; too high when n is not many times d",
                h_score, _h_score.influence, noise_scores="t − 1", in_sample=True, kin="regularised-h-score",
            ),
            Measure(
                "logme", "LogME", "features", "nats", True,
                "You et al., ICML 2021, eq. (2)",
                "evidence of a Bayesian linear model on the features; needs no head",
                logme, _logme.influence, resamples=True,
            ),
            Measure(
                "knn", "leave-one-out kNN", "features", "", True,
                "Fix & Hodges 1951, leave-one-out, k = 5",
                "share of examples that their five nearest neighbours classify rightly",
                knn, _knn.influence, resamples=True,
            ),
            Measure(
                "linear-probe", "linear probe", "features", "nats", True,
                "Alain & Bengio, ICLR 2017 workshop, cross-fitted",
                "held-out log-likelihood of a logistic regression on the features",
                linear_probe, _linear_probe.influence, holds_out=True,
            ),
            Measure(
                "pactran-dirichlet", "PACTran-Dirichlet", "probabilities", "nats", True,
                "Ding et al., ECCV 2022, PACTran-Dirichlet, α = 1",
                "evidence for LEEP's model under a Dirichlet prior",
                pactran_dirichlet, _pactran_dirichlet.influence, resamples=True, kin="leave-one-out-leep",
            ),
            Measure(
                "pactran-gaussian", "PACTran-Gaussian", "features", "nats", True,
                "Ding et al., ECCV 2022, PACTran-Gaussian, λ = 1",
                "bound on the loss of a linear head, from its fit and the flatness around it; in-sample",
                pactran_gaussian, _pactran_gaussian.influence, resamples=True, in_sample=True,
            ),
            Measure(
                "lfc", "LFC", "features", "", True,
                "Deshpande et al. 2021 (arXiv 2102.00084)",
                "correlation of feature similarity and class equality over all pairs of examples",
                lfc, _lfc.influence, in_sample=True,
            ),
            Measure(
                "stable-rank", "stable rank", "features", "", True,
                "Rudelson & Vershynin, Journal of the ACM 2007",
                "directions that carry the features' variance; a baseline that looks at no label",
                stable_rank, _stable_rank.influence, votes=False,
            ),
            Measure(
                "regularised-h-score", "regularised H-score", "features", "", True,
                "Ibrahim et al., 2021, the shrinkage-based H-score",
                "H-score with the covariance shrunk as Ledoit and Wolf do; for n not many times d",
                regularised_h_score, _regularised_h_score.influence, resamples=True, in_sample=True,
            ),
            Measure(
                "n-leep", "N-LEEP", "features", "nats", True,
                "Li et al., CVPR 2021",
                "LEEP with clusters of the features in place of source classes; needs no head",
                n_leep, _n_leep.influence, resamples=True,
            ),
            Measure(
                "transrate", "TransRate", "features", "nats", True,
                "Huang et al., ICML 2022",
                "coding rate that the class explains; too high where a class has fewer examples than features",
                transrate, _transrate.influence, resamples=True, in_sample=True,
            ),
            Measure(
                "gbc", "GBC", "features", "", True,
                "Pándy et al., CVPR 2022",
                "how little the classes overlap as spherical Gaussians; a sum over pairs of classes",
                gbc, _gbc.influence, resamples=True, in_sample=True,
            ),
            Measure(
                "parc", "PARC", "features", "", True,
                "Bolya et al., NeurIPS 2021",
                "rank correlation of feature and label distances over pairs of at most 2,000 examples",
                parc, _parc.influence, resamples=True,
            ),
            Measure(
                "sfda", "SFDA", "features", "", True,
                "Shao et al., ECCV 2022",
                "mean probability of the right class in a self-challenged Fisher discriminant; 1 for noise when n ≤ d",
                sfda, _sfda.influence, noise_scores="1", resamples=True, in_sample=True,
            ),
        )
    }
)  # fmt: skip


def find(name: str) -> Measure:
    """Return the measure of that name; ``leave_one_out_leep`` and ``leave-one-out-leep`` are the same.

    Raises:
        MeasureError: there is none; the message lists the right names.
    """
    key = name.strip().lower().replace("_", "-")
    if key in MEASURES:
        return MEASURES[key]
    close = difflib.get_close_matches(key, MEASURES, n=1)
    hint = f"did you mean {close[0]}? " if close else ""
    left_out = "".join(f"; {problem}" for problem in MEASURES.problems)
    raise MeasureError(f"unknown measure {name!r}: {hint}known are {', '.join(MEASURES)}{left_out}")


def standard_error(name: str, inputs: ArrayLike, labels: ArrayLike) -> float:
    """Return the standard error of a measure, in its unit: std/√(their number) of its influence values.

    These are one an example and in closed form, or, for the measures of ten resamples (`Measure.resamples`), ten from
    a jackknife or from half-samples, which is eleven times the work of the score. A standard error from ten values is
    itself known to about a quarter.

    It is about sampling: how much the score at this n would move on other examples of the same kind. It says nothing
    about the in-sample bias of a plug-in score, which differs with the number of source classes.

    Args:
        name: a key of `MEASURES`, in either spelling.
        inputs: probabilities ``[n, s]`` or features ``[n, d]``, as the measure needs.
        labels: target labels, ``[n]``.

    Raises:
        MeasureError: no such measure.
        InputError: as for the measure itself.
    """
    return _standard_error(find(name).influence(inputs, labels)[1])
