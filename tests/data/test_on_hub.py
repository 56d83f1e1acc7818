"""CSV files on the Hub mean what they say, as files on this machine do; and the addresses of data sets."""

import gzip
import io
import json
import zipfile

import pytest

from hf_leep.data import on_hub
from hf_leep.errors import TargetError

LOAD = """
import json, sys
from functools import partial
from hf_leep import data, hub
from hf_leep.errors import HfLeepError
from hf_leep.models import MODALITIES
answers = []
for name, options in json.loads(sys.argv[1]):
    try:
        pin = partial(hub.pin_dataset, client=hub.Client())
        target, _ = data.load(name, MODALITIES, pin=pin, progress=False, **options)
        answers.append([target.dataset, target.label_column, list(target.class_names), len(target.labels)])
    except HfLeepError as error:
        answers.append(str(error))
print(json.dumps(answers))
"""
WORDS = ["None", "NA", "007"]
LINES = "id,text,label\n" + "".join(f"{k},t{k},{WORDS[k % 3]}\n" for k in range(30))
NUMBERS = "text,label\n" + "".join(f"t{k},{('007', '001', '12')[k % 3]}\n" for k in range(30))
CARD = """---
dataset_info:
  features:
  - {name: text, dtype: string}
  - {name: label, dtype: {class_label: {names: {'0': no, '1': yes}}}}
---
"""


@pytest.fixture
def load(client, hub):
    hub.add("user/csv", {"train.csv": LINES.encode()}, kind="dataset")
    hub.add("user/packed", {"train.csv.gz": gzip.compress(LINES.encode())}, kind="dataset")
    hub.add("user/numbers", {"train.csv.gz": gzip.compress(NUMBERS.encode())}, kind="dataset")
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as held:
        held.writestr("train.csv", NUMBERS)
    hub.add("user/archive", {"train.zip": archive.getvalue()}, kind="dataset")
    declared = "text,label\n" + "".join(f"t{k},{k % 2}\n" for k in range(30))
    hub.add("user/declared", {"train.csv": declared.encode(), "README.md": CARD.encode()}, kind="dataset")
    hub.add("user/latin", {"train.csv": LINES.replace("t3", "é").encode("latin-1")}, kind="dataset")

    def run(*asked, **environment):
        done = client(json.dumps(asked), code=LOAD, **environment)
        assert done.returncode == 0, done.stderr
        assert "Fetching" not in done.stderr
        return json.loads(done.stdout)

    return run


def test_cells_on_the_hub_are_read_as_they_are_written(load):
    streamed = {"streaming": True, "max_samples": 12}
    found = load(
        ["user/csv", {}], ["user/csv", streamed], ["hf://datasets/user/csv", {}], ["user/packed", {}],
        ["user/declared", {}], ["user/declared", streamed], ["user/latin", {}],
        ["user/packed", streamed], ["user/numbers", {}], ["user/numbers", streamed], ["user/archive", {}],
    )  # fmt: skip
    classes = sorted(WORDS)
    assert found[0] == found[2] == ["user/csv", "label", classes, 30]
    assert found[1] == ["user/csv", "label", classes, 12]
    assert found[3] == ["user/packed", "label", classes, 30]
    assert found[7] == ["user/packed", "label", classes, 12]
    assert [row[2] for row in found[8:]] == [["001", "007", "12"]] * 3
    assert [row[2] for row in found[4:6]] == [["False", "True"]] * 2  # as YAML reads no and yes
    assert "train.csv is not UTF-8" in found[6]
    assert load(["user/csv", {}], ["user/packed", {}], HF_HUB_OFFLINE="1") == [found[0], found[3]]


@pytest.mark.parametrize(("name", "found"), [
    ("user/csv", ("user/csv", None)),
    ("squad", ("squad", None)),
    ("hf://datasets/user/csv", ("user/csv", None)),
    ("hf://datasets/user/csv@v1", ("user/csv", "v1")),
    ("https://huggingface.co/datasets/user/csv", ("user/csv", None)),
    ("https://huggingface.co/datasets/user/csv/tree/v1", ("user/csv", "v1")),
    ("https://huggingface.co/datasets/user/csv/viewer/default/train", ("user/csv", None)),
])  # fmt: skip
def test_addresses_of_data_sets_are_read(name, found):
    assert on_hub.find(name, None) == found


@pytest.mark.parametrize(("name", "message"), [
    ("https://huggingface.co/datasets/user/csv/resolve/main/a/b.csv", r"hf download user/csv a/b.csv --repo-type"),
    ("hf://datasets/user/csv/train.csv", r"is one file: give the whole data set, user/csv"),
    ("https://example.org/d.csv", r"is an address, not a data set"),
    ("hf://user/model", r"is an address, not a data set"),
])  # fmt: skip
def test_other_addresses_say_what_to_do(name, message):
    with pytest.raises(TargetError, match=message):
        on_hub.find(name, None)


def test_two_revisions_are_refused():
    with pytest.raises(TargetError, match=r"names the revision v1, and revision v2"):
        on_hub.find("hf://datasets/user/csv@v1", "v2")
