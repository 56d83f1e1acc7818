"""Answers of the Hub's API with fields of a wrong type."""

import json

GARBAGE = {
    "sha": ({"sha": 5}, "its commit is 5"),
    "id": ({"id": "../user/x"}, "its id"),
    "siblings": ({"siblings": "none"}, "huggingface_hub cannot read the Hub's answer (TypeError"),
    "negative": ({"siblings": [{"rfilename": "config.json", "size": -1}]}, "the size of 'config.json' is -1"),
    "date": ({"lastModified": "yesterday"}, "huggingface_hub cannot read the Hub's answer (ValueError"),
    "passes": ({"tags": [5], "cardData": [1]}, None),
    "good": ({}, None),
}
PLAN = """
import json, sys
from hf_leep import Search, hub
from hf_leep.errors import HfLeepError
said = {}
names = hub.search(Search(text="user/", library=None, limit=20))
for name in names:
    try:
        hub.peek(hub.resolve(name))
    except HfLeepError as error:
        said[name] = str(error)
print(json.dumps(said))
"""


def test_each_wrong_field_costs_its_candidate_alone(hub, client, checkpoints):
    hub.page = 100
    for name, (info, _) in GARBAGE.items():
        hub.add_folder(f"user/{name}", checkpoints["five"])
        hub.repos["model", f"user/{name}"].info.update(info)
    done = client(code=PLAN)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    expected = {("../user/x" if n == "id" else f"user/{n}"): text for n, (_, text) in GARBAGE.items() if text}
    assert set(said) == set(expected)
    for name, text in expected.items():
        assert name == "../user/x" or text in said[name]


BOUNDED = """
from hf_leep import Search, hub
from hf_leep.errors import CandidateError
from hf_leep.hub import files
(name,) = hub.search(Search(text="user/five", library=None))  # whose answer states no sizes
found = hub.resolve(name)
files._MAX_SMALL = LIMIT
try:
    print(sorted(file.name for file in hub.fetch(found).rglob("*") if file.is_file()))
except CandidateError as error:
    print(error)
"""


def test_a_file_beside_the_weights_is_bounded_and_the_card_is_not_needed(hub, client, checkpoints):
    repo = hub.add_folder("user/five", checkpoints["five"])
    longest = max(file.stat().st_size for file in checkpoints["five"].glob("*.json"))
    repo.commit({"README.md": b"x" * 2 * longest})
    held = client(code=BOUNDED.replace("LIMIT", str(longest)))
    assert "config.json" in held.stdout, held.stderr
    assert "README.md" not in held.stdout
    refused = client(code=BOUNDED.replace("LIMIT", "10"), home="another")
    assert "hf_leep reads up to" in refused.stdout, refused.stderr
