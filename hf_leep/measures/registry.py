"""The list of measures: those of hf_leep, and those that other packages add through entry points."""

from __future__ import annotations

import difflib
import hashlib
import re
import warnings
from collections import UserDict
from collections.abc import Iterable, Iterator, Mapping
from importlib import import_module

import numpy as np
from numpy.typing import ArrayLike

from hf_leep import arrays
from hf_leep.errors import MeasureError, one_line
from hf_leep.measures.measure import Measure

# Files of this folder that define a MEASURE, in the order in which the measures are listed. To add a measure, write
# its file and add it here; tests/measures/test_complete.py then says what else it needs.
MODULES = (
    "leep",
    "leave_one_out_leep",
    "nce",
    "h_score",
    "logme",
    "knn",
    "linear_probe",
    "ridge",
    "ridge_log_likelihood",
    "pactran_dirichlet",
    "pactran_gaussian",
    "lfc",
    "stable_rank",
    "regularised_h_score",
    "n_leep",
    "transrate",
    "gbc",
    "parc",
    "sfda",
)
ENTRY_POINT_GROUP = "hf_leep.measures"  # through which other packages add measures


class _Registry(UserDict[str, Measure]):
    """The measures by name, in either spelling (``h-score`` or ``h_score``); iteration yields kebab-case.

    The measures of other packages are loaded when a name is looked up that hf_leep does not have, or when all measures
    are listed, for the first time. A measure that cannot be loaded is left out with a warning.

    Attributes:
        problems: one line for each measure of another package that was left out, with the reason.
    """

    def __init__(self, own: Iterable[Measure]) -> None:
        self.problems: list[str] = []
        self._packages: dict[str, str] = {}  # name of a measure from another package → that package and its version
        self._plugins_loaded = False
        super().__init__({measure.name: measure for measure in own})

    def __getitem__(self, name: str) -> Measure:
        key = name.replace("_", "-")
        if key not in self.data:
            self._load_plugins()
        return super().__getitem__(key)

    def __contains__(self, name: object) -> bool:
        if not isinstance(name, str):
            return False
        key = name.replace("_", "-")
        if key not in self.data:
            self._load_plugins()
        return key in self.data

    def __iter__(self) -> Iterator[str]:
        self._load_plugins()
        return super().__iter__()

    def __len__(self) -> int:
        self._load_plugins()
        return super().__len__()

    def stored_name(self, name: str) -> str:
        """Return the name for stored scores; that of a measure from another package depends on its version."""
        key = find(name).name
        package = self._packages.get(key)
        return key if package is None else f"{key}-{hashlib.sha256(package.encode()).hexdigest()[:16]}"

    def _load_plugins(self) -> None:
        if self._plugins_loaded:
            return
        self._plugins_loaded = True  # before loading: a plugin may itself look into the registry
        from importlib.metadata import entry_points

        for entry in sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda entry: (entry.name, entry.value)):
            try:
                measure = entry.load()
                problem = _problem_with(measure, self.data)
            except Exception as error:  # an error in another package must not disable the other measures
                problem = f"{type(error).__name__}: {one_line(error)}"
            package = entry.dist.name if entry.dist is not None else "an unknown package"
            if problem is None:
                self.data[measure.name] = measure
                self._packages[measure.name] = package if entry.dist is None else f"{package} {entry.dist.version}"
                continue
            self.problems.append(f"measure {entry.name!r} of {package} was left out: {problem}")
            warnings.warn(self.problems[-1], RuntimeWarning, stacklevel=3)


def _problem_with(measure: object, known: Mapping[str, Measure]) -> str | None:
    """Return why an object from another package cannot be used as a measure; None if it can."""
    if not isinstance(measure, Measure):
        return f"its entry point leads to an object of type {type(measure).__name__}, not hf_leep.measures.Measure"
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", measure.name):
        return f"its name {measure.name!r} is not in kebab-case"
    if measure.name in known:
        return f"there is already a measure {measure.name!r}"
    if str(measure.needs) not in ("probabilities", "features"):
        return f"it needs {measure.needs!r}, which is neither probabilities nor features"
    functions: tuple[object, ...] = (measure.function, measure.influence)
    if not all(callable(function) for function in functions):
        return "its function or influence cannot be called"
    if measure.checked_by is not None and measure.checked_by not in known:
        return f"its checked_by is {measure.checked_by!r}, which is not a measure"
    if measure.shares_vote_with is not None and measure.shares_vote_with not in known:
        return f"its shares_vote_with is {measure.shares_vote_with!r}, which is not a measure"
    return None


def _measure_in(module: str) -> Measure:
    measure: Measure = import_module(f"hf_leep.measures.{module}").MEASURE
    return measure


MEASURES = _Registry(_measure_in(module) for module in MODULES)


def find(name: str) -> Measure:
    """Return a measure by its name, in either spelling: ``leave_one_out_leep`` or ``leave-one-out-leep``.

    Raises:
        MeasureError: there is no such measure; the message lists the measures that there are.
    """
    if not isinstance(name, str):
        raise MeasureError(f"a measure is named by text such as 'leep', got {name!r}")
    key = name.strip().lower().replace("_", "-")
    if key in MEASURES:
        return MEASURES[key]
    close = difflib.get_close_matches(key, MEASURES, n=1)
    hint = f"did you mean {close[0]}? " if close else ""
    left_out = "".join(f"; {problem}" for problem in MEASURES.problems)
    raise MeasureError(f"unknown measure {name!r}: {hint}known are {', '.join(MEASURES)}{left_out}")


def standard_error(name: str, inputs: ArrayLike, labels: ArrayLike, draws: ArrayLike | None = None) -> float:
    """Return the standard error of a measure's score, in the unit of the score.

    It is computed in closed form from the influence of each example, or, for the measures with `Measure.resamples`,
    from ten resamples, which takes eleven times as long as the score. A standard error from ten resamples is itself
    accurate to about a quarter.

    The standard error describes sampling: how much the score would vary between samples of n examples. It does not
    cover the in-sample bias of a measure, which grows with the number of source classes. That of a mean log-likelihood
    or of an accuracy allows for errors that the examples happen not to contain, see `hf_leep.measures.unseen`.

    Args:
        name: a key of `MEASURES`, in either spelling.
        inputs: probabilities ``[n, s]`` or features ``[n, d]``, whichever the measure needs.
        labels: target labels, ``[n]``.
        draws: the draw that each example belongs to, such as the sentence of a word, ``[n]``: integers ≥ 0, at least
            two different ones. By default each example is its own draw.

    Raises:
        MeasureError: there is no such measure.
        InputError: as for the measure itself.

    Examples:
        >>> from hf_leep import measures
        >>> probabilities = [[0.9, 0.1], [0.8, 0.2], [0.2, 0.8], [0.3, 0.7]]
        >>> round(measures.standard_error("leep", 50 * probabilities, 50 * [0, 0, 1, 1]), 3)
        0.055

        Four examples without an error say little about how often there would be one:

        >>> round(measures.standard_error("leep", probabilities, [0, 0, 1, 1]), 3)
        1.035
    """
    measure = find(name)
    count = len(np.asarray(labels))
    index = None if draws is None else arrays.draws(draws, count)
    value, influence = measure.influence_by_draw(inputs, labels, index)
    return measure.standard_error(value, influence, count if index is None else int(index.max()) + 1)
