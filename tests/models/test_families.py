"""Every architecture that transformers has for a modality, tried with a tiny checkpoint the way users run theirs.

The table of what came of it is hf_leep/models/README.md. UPDATE_GOLDEN=1 writes it anew; then read the diff.
"""

import os
import pickle
import re
import warnings
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

import hf_leep
from hf_leep.errors import CandidateError
from hf_leep.models import ADAPTERS
from tests.models.extracting import run_pass
from tests.models.families import families, rows, save

TABLE = Path(hf_leep.__file__).parent / "models" / "README.md"
KINDS = {"image": "IMAGE", "text": "SEQUENCE", "token": "TOKEN", "audio": "AUDIO"}
TRIED = [family for modality, kind in KINDS.items() for family in families(modality, kind)]
OPTIONAL = ("detectron2", "natten", "rjieba", "sacremoses", "sentencepiece", "timm", "torchvision")
TITLES = {"image": "Images", "text": "Texts", "token": "Tokens", "audio": "Sounds"}
RESULTS = {"works": "work", "works, without features": "work without features", "refused": "refused"}
INTRO = """\
# Which architectures can be ranked

Every architecture that transformers {version} has for a modality, tried with a tiny checkpoint of random weights:
saved to a folder with a processor of its own kind (or a usual tokenizer, where transformers names none for it), loaded
by the modality's adapter, and run over a few inputs of unequal size, one at a time and all in one batch. *Works* means
that both runs agree, to 1e-5 in every probability and to 1e-4 of the largest feature, in float32 on a CPU, and that
the outputs differ from input to input.
`tests/models/test_families.py` makes this page.

"""


def outcome(family, folder):
    """What comes of a family: its result and the reason."""
    result, reason = _outcome(family, folder / "own", own=True)
    if (
        package := re.fullmatch(r"its tokenizer cannot be loaded \(it needs (\S+), not installed here\)", reason)
    ) is None:
        return result, reason
    result, more = _outcome(family, folder / "usual", own=False)
    return result, "; ".join(filter(None, [f"its own tokenizer needs {package[1]}: tried with another", more]))


def _outcome(family, folder, own):
    save(family, folder, own)
    try:
        classifier = ADAPTERS[family.modality].load(folder, ["x"])
        inputs = rows(family.modality)
        alone, together = (_extract(classifier, inputs, size) for size in (1, len(inputs)))
    except CandidateError as error:
        return "refused", str(error).replace(str(folder), "the checkpoint")
    _check_can_be_sent(classifier, inputs)
    assert together.missing == alone.missing
    assert np.ptp(alone.probabilities, axis=0).max() > 1e-4, "it says the same of every input"
    np.testing.assert_allclose(together.probabilities, alone.probabilities, rtol=0, atol=1e-5)
    if alone.features is None:
        return "works, without features", alone.missing["features"]
    np.testing.assert_allclose(together.features, alone.features, rtol=0, atol=1e-4 * np.abs(alone.features).max())
    return "works", ""


def _check_can_be_sent(classifier, inputs):
    """Another process makes the same inputs."""
    read = inputs.read(range(len(inputs))) if hasattr(inputs, "read") else list(inputs)
    own, other = (collate(read) for collate in (classifier.collate, pickle.loads(pickle.dumps(classifier.collate))))
    assert own.keys() == other.keys()
    assert all(torch.equal(own[name], other[name]) for name in own)


def _extract(classifier, inputs, batch_size):
    labels = np.arange(getattr(inputs, "offsets", [len(inputs)])[-1]) % 2  # of a sentence each word has one
    return run_pass(classifier, inputs, labels, batch_size=batch_size)


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """Family → its result and the reason; an exception where our code fell over."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # tiny models are faster on one
    found = {}
    for family in TRIED:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # what torch deprecates in transformers' code is not the question here
                found[family] = outcome(family, tmp_path_factory.mktemp("family"))
        except Exception as error:
            found[family] = error
    torch.set_num_threads(threads)
    return found


@pytest.mark.parametrize("family", TRIED, ids=lambda family: "-".join(filter(None, family)))
def test_a_family_works_or_is_refused_for_a_reason(outcomes, family):
    if isinstance(found := outcomes[family], Exception):
        raise found
    result, reason = found
    assert result == "works" or reason


def test_the_table_says_what_came_of_them(outcomes):
    if os.environ.get("UPDATE_GOLDEN"):
        TABLE.write_text(page(outcomes), encoding="utf-8")
    written = TABLE.read_text(encoding="utf-8")
    if f"transformers {transformers.__version__} " not in written:
        pytest.skip("the table was made with another version of transformers")
    here = [name for name in OPTIONAL if find_spec(name)]
    excused = {row.split(" | ")[1] for row in written.splitlines() if any(f" needs {name}" in row for name in here)}
    if not excused:
        assert page(outcomes) == written
    else:  # these rows, and the counts, hang on packages that happen to be here
        assert _rows(page(outcomes), excused) == _rows(written, excused)


def test_the_readme_counts_them():
    readme = (Path(hf_leep.__file__).parents[1] / "docs" / "candidates.md").read_text(encoding="utf-8")
    table = TABLE.read_text(encoding="utf-8")
    (version,) = re.findall(r"that transformers (\S+) has", table)
    assert f"With transformers {version}, " in readme
    for modality, part in zip(TITLES, table.split("\n## ")[1:], strict=True):
        tried = re.findall(r"^\| [\w-]+ \| .* \| (works|refused).* \| .*\|$", part, flags=re.MULTILINE)
        assert f"{tried.count('works')} of {len(tried)} {modality}" in " ".join(readme.split())


def _rows(text, excused):
    return [row for row in text.splitlines() if row.startswith("|") and row.split(" | ")[1] not in excused]


def page(outcomes):
    """The table as Markdown: what needs a word first, then what simply works."""
    parts = [INTRO.format(version=transformers.__version__)]
    for modality in dict.fromkeys(family.modality for family in outcomes):
        mine = {family: found for family, found in outcomes.items() if family.modality == modality}
        results = [result for result, _ in mine.values()]
        counts = ", ".join(
            f"{results.count(result)} {named}" for result, named in RESULTS.items() if result in results
        )
        parts.append(f"## {TITLES[modality]}: {ADAPTERS[modality].auto_model}\n\n{len(mine)} tried: {counts}.\n\n")
        parts.append("| model_type | architecture | result | reason |\n|:--|:--|:--|:--|\n")
        rows = [
            (
                not reason,
                list(RESULTS)[::-1].index(result),
                family.model_type,
                ", ".join(filter(None, family[2:])),
                result,
                reason,
            )
            for family, (result, reason) in mine.items()
        ]
        for *_, model_type, architecture, result, reason in sorted(rows):
            told = re.sub(r"([|<>*_`])", r"\\\1", reason)
            parts.append(f"| {model_type} | {architecture} | {result} | {told} |\n")
        parts.append("\n")
    return "".join(parts).rstrip() + "\n"
