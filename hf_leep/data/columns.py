"""Find the input and label columns of a split."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from typing import Protocol

import datasets

from hf_leep.data import hints
from hf_leep.errors import ChoiceError, TargetError, option


class Modality(Protocol):
    """A kind of input, as far as its columns and labels go; see `hf_leep.models.Modality`."""

    @property
    def name(self) -> str:
        """Such as ``image``."""

    @property
    def task(self) -> str:
        """Hub task."""

    @property
    def unit(self) -> str:
        """What an example is called, in the plural."""

    @property
    def input_names(self) -> Sequence[tuple[str, ...]]:
        """Usual names of the input columns; two names are a pair."""

    @property
    def max_inputs(self) -> int:
        """How many input columns a row can have."""

    @property
    def accepts(self) -> Callable[[str, object], bool]:
        """Whether a column of that name and feature can be an input."""

    @property
    def ambiguous(self) -> Callable[[object], bool]:
        """Whether a column of that feature may be something other than an input."""

    @property
    def ambiguous_beside(self) -> str | None:
        """The modality beside whose columns that is so."""

    @property
    def labels_words(self) -> bool:
        """Whether each word of a row has a label, rather than the row."""

    @property
    def missing_decoder(self) -> Callable[[object], str | None]:
        """What to install to decode a feature; None where nothing is missing."""


_LABEL_NAMES = ("label", "labels")
# Other names that people give to a column of classes, taken where exactly one of them is there.
_COMMON_NAMES = (
    "category", "class", "class_name", "classes", "target", "intent", "sentiment", "topic", "emotion", "genre",
    "species", "coarse_label", "fine_label", "label_name", "y",
)  # fmt: skip
_LOOKED_AT = 1000  # rows, to propose a column where several could be meant
_LISTED = 20  # columns that a message names
_TAG_NAMES = ("tags", "ner_tags", "pos_tags")  # of columns that label words


def check_label(found: datasets.Dataset, label: str | None) -> None:
    """Raise TargetError if the column that the user names as the label cannot be one.

    Args:
        found: the split.
        label: the column, if the user names one.

    Raises:
        TargetError: the column exists, but holds no classes.
    """
    fitting = [name for name, held in found.features.items() if _can_be_label(held) or _can_label_words(held)]
    if label is None or label in fitting:
        return
    if label not in found.features:
        raise TargetError(
            f"no column {label!r}{_meant(label, fitting)}: {option('label')} can be {_listed(fitting)}; "
            f"the columns are {_columns(found)}"
        )
    raise TargetError(
        f"column {label!r} holds {_no_classes(found, label)}: {option('label')} can be {_listed(fitting)}"
    )


def _no_classes(found: datasets.Dataset, column: str) -> str:
    """What a column holds that cannot be the label, and what to do about it."""
    held = _type(found, column)
    advice = hints.about_column(found, column, found.features[column])
    return f"{held}, no classes ({advice})" if advice else f"{held}, no classes"


def _meant(name: str, fitting: Sequence[str]) -> str:
    """A column of nearly the same name, as ``; did you mean 'category'``."""
    close = get_close_matches(name, fitting, n=1) or get_close_matches(name.lower(), fitting, n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def likely_label(found: datasets.Dataset) -> str | None:
    """The column that is the label by its name or type, before the inputs are known; None if none stands out.

    A column called ``label`` or ``labels`` wins, then the only ClassLabel, then the only column of a common name.

    Args:
        found: the split.
    """
    fitting = [name for name, held in found.features.items() if _can_be_label(held)]
    likely = _likely(found, fitting)
    return likely[0] if len(likely) == 1 else None


def _likely(found: datasets.Dataset, fitting: Sequence[str]) -> list[str]:
    """Of the columns that can be the label, those that are so by their name or type."""
    named = [name for name in _LABEL_NAMES if name in fitting]
    named = named or [name for name in fitting if _plain(name) in _LABEL_NAMES]
    features = found.features  # a copy of all of them, each time
    held = {name: getattr(features[name], "feature", features[name]) for name in fitting}
    classes = [name for name, feature in held.items() if isinstance(feature, datasets.ClassLabel)]
    if named or len(classes) == 1:
        return named or classes
    return [name for name in classes or fitting if _plain(name) in _COMMON_NAMES] or classes


def _plain(name: str) -> str:
    """The name of a column without capitals and spaces around it."""
    return name.strip().lower()


def find_inputs(
    found: datasets.Dataset, modalities: Sequence[Modality], inputs: str | Sequence[str] | None, label: str | None
) -> tuple[Modality, tuple[str, ...]]:
    """Find the modality and the input columns.

    Args:
        found: the split.
        modalities: the kinds of input; the first whose column is found is taken.
        inputs: the input columns that the user names, if any.
        label: the label column that the user names, if any.

    Raises:
        TargetError: no column can be the input, or several can.
    """
    by_name = {modality.name: modality for modality in modalities}
    # A column that is the label by its name is no input, unless the user says so.
    taken = label or (likely_label(found) if inputs is None and not _words_are_labelled(found) else None)
    features = found.features
    columns = {
        key: [name for name, feature in features.items() if name != taken and modality.accepts(name, feature)]
        for key, modality in by_name.items()
    }
    of_words = {key for key, modality in by_name.items() if modality.labels_words}
    if label in features and (any(columns[key] for key in of_words) or not _is_list(features[label])):
        # If words are labelled, the input is a list of words, and otherwise it is not.
        labels_words = _can_label_words(features[label])
        columns = {key: names if (key in of_words) == labels_words else [] for key, names in columns.items()}
    elif inputs is None and not _words_are_labelled(found):
        columns |= {key: [] for key in of_words}
    fitting = [name for names in columns.values() for name in names]
    if inputs is not None:
        return _check_inputs(found, by_name, columns, inputs, fitting)
    for key, names in columns.items():
        modality = by_name[key]
        if columns.get(modality.ambiguous_beside or ""):
            names = [n for n in names if (n,) in modality.input_names or not modality.ambiguous(features[n])]
        usual = [usual for usual in modality.input_names if set(usual) <= set(names)]
        if not usual:
            spelt = {_plain(name): name for name in names}
            usual = [tuple(spelt[n] for n in given) for given in modality.input_names if set(given) <= set(spelt)]
        if usual or len(names) == 1:
            return modality, (usual or [tuple(names)])[0]
        if names:
            pair = modality.max_inputs == len(names) == 2 and taken is not None
            both = f", or both as a pair: {','.join(names)}" if pair else ""
            raise ChoiceError(
                f"which {modality.name} column is the input? {option('input')} can be {_listed(names)}{both}"
                f"{hints.about_no_header(found)}",
                "input",
                _longest(found, names),
            )
    besides = f" besides the label {label!r}" if label in features else ""
    raise TargetError(
        f"no column of {_units(modalities)}{besides}; the columns are {_columns(found)}"
        f"{hints.about_one_row(found) or hints.about_no_input(found)}"
    )


def _check_inputs(
    found: datasets.Dataset,
    by_name: Mapping[str, Modality],
    columns: Mapping[str, Sequence[str]],
    inputs: str | Sequence[str],
    fitting: Sequence[str],
) -> tuple[Modality, tuple[str, ...]]:
    """Check the input columns that the user names."""
    chosen = _named_inputs(found, inputs)
    for column in chosen:
        if column not in found.features:
            raise TargetError(
                f"no column {column!r}{_meant(column, fitting)}: {option('input')} can be {_listed(fitting)}; "
                f"the columns are {_columns(found)}"
            )
    most = max(modality.max_inputs for modality in by_name.values())
    if len(chosen) > most:
        raise TargetError(
            f"{option('input')} names {len(chosen)} columns, {', '.join(chosen)}; it can be at most {most}"
        )
    if twice := [column for column in chosen if chosen.count(column) > 1]:
        raise TargetError(f"{option('input')} names column {twice[0]!r} twice: name it once, or name another")
    for key, names in columns.items():
        if set(chosen) <= set(names) and len(chosen) <= by_name[key].max_inputs:
            return by_name[key], chosen
    held = ", ".join(f"{column} ({_type(found, column)})" for column in chosen)
    modalities = list(by_name.values())
    pairs = " and ".join(modality.unit for modality in modalities if modality.max_inputs > 1)
    raise TargetError(
        f"{option('input')} {held} cannot be the input ({_units(modalities)}; only {pairs} can be two columns): "
        f"it can be {_listed(fitting)}"
    )


def _named_inputs(found: datasets.Dataset, inputs: str | Sequence[str]) -> tuple[str, ...]:
    """The input columns that the user names: a name, two with a comma between them, or a sequence of names."""
    if not isinstance(inputs, str):
        return tuple(inputs)
    if inputs in found.features:  # whose name may hold a comma
        return (inputs,)
    return tuple(name if name in found.features else name.strip() for name in inputs.split(","))


def _words_are_labelled(found: datasets.Dataset) -> bool:
    """Whether the label is of words: a column named for labels or of classes labels words, and none labels rows."""
    usual = (*_LABEL_NAMES, *_TAG_NAMES)
    classes = {
        name: feature
        for name, feature in found.features.items()
        if name in usual or isinstance(getattr(feature, "feature", feature), datasets.ClassLabel)
    }
    return any(map(_can_label_words, classes.values())) and not any(map(_can_be_label, classes.values()))


def find_label(found: datasets.Dataset, label: str | None, modality: Modality, input_columns: tuple[str, ...]) -> str:
    """Find the label column.

    Args:
        found: the split.
        label: the column that the user names, if any.
        modality: the modality of the inputs.
        input_columns: the input columns.

    Raises:
        TargetError: no column can be the label, or several can.
    """
    fits = _can_label_words if modality.labels_words else _can_be_label
    possible: list[str] = [name for name, held in found.features.items() if name not in input_columns and fits(held)]
    if label is not None:
        if label not in possible:
            raise TargetError(
                f"column {label!r} holds {_no_classes(found, label)}: {option('label')} can be {_listed(possible)}"
            )
        return label
    likely = _likely(found, possible)
    if len(likely) == 1 and _plain(likely[0]) in _COMMON_NAMES and hints.one_hot(found, possible):
        likely = []  # such as y beside x and z
    if len(likely) == 1:
        return likely[0]
    tags = [name for name in _TAG_NAMES if name in possible]
    if modality.labels_words and len(tags) == 1 and not likely:
        return tags[0]
    if len(possible) == 1:
        return possible[0]
    if not possible and modality.labels_words:
        raise TargetError(f"no column can label words (lists of classes, integers or strings): {_columns(found)}")
    if not possible:
        words = [name for name, feature in found.features.items() if _can_label_words(feature)]
        words_hint = f"; labels of words are chosen with {option('label')}: {_listed(words)}"
        hint = words_hint if len(words) > 1 else hints.about_no_label(found)
        raise TargetError(
            f"no column can be the label (classes, integers, booleans or strings): {_columns(found)}{hint}"
        )
    fewest = _of_fewest_values(found, likely or possible)
    listed = f"{_listed(possible)}{hints.about_choice(found, possible) or hints.about_no_header(found)}"
    raise ChoiceError(f"which column is the label? {option('label')} can be {listed}", "label", fewest)


def _of_fewest_values(found: datasets.Dataset, names: Sequence[str]) -> str:
    """Of several columns, that whose first rows have the fewest different values; lists count as one."""
    rows = found.select_columns(list(names))[:_LOOKED_AT]
    return min(names, key=lambda name: len({str(value) for value in rows[name] if value is not None}) or _LOOKED_AT)


def _longest(found: datasets.Dataset, names: Sequence[str]) -> str:
    """Of several columns, that with the longest content; the first if it is no text."""
    features = found.features
    if not all(isinstance(features[name], datasets.Value) for name in names):
        return names[0]
    rows = found.select_columns(list(names))[:_LOOKED_AT]
    return max(names, key=lambda name: sum(len(str(value)) for value in rows[name]))


def _can_be_label(feature: object) -> bool:
    if isinstance(feature, datasets.ClassLabel):
        return True
    kinds = ("int", "uint", "bool", "string", "large_string")
    return isinstance(feature, datasets.Value) and feature.dtype.rstrip("0123456789") in kinds


def _can_label_words(feature: object) -> bool:
    return isinstance(feature, datasets.List | datasets.LargeList) and _can_be_label(feature.feature)


def _is_list(feature: object) -> bool:
    return isinstance(feature, datasets.List | datasets.LargeList)


def _type(found: datasets.Dataset, column: str) -> str:
    return _kind(found.features[column])


def _kind(feature: object) -> str:
    if isinstance(feature, datasets.List | datasets.LargeList):
        return f"list of {_kind(feature.feature)}"
    return str(feature.dtype if isinstance(feature, datasets.Value) else type(feature).__name__)


def _columns(found: datasets.Dataset) -> str:
    return _listed([f"{name} ({_kind(feature)})" for name, feature in found.features.items()])


def _units(modalities: Sequence[Modality]) -> str:
    """The kinds of input, as ``images, texts or words``."""
    *others, last = [modality.unit for modality in modalities]
    return f"{', '.join(others)} or {last}"


def _listed(names: Sequence[str]) -> str:
    if not names:
        return "none, since no column fits"
    return ", ".join(names[:_LISTED]) + (f" and {len(names) - _LISTED} more" if len(names) > _LISTED else "")
