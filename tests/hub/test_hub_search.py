"""Search and collections, over real HTTP: what the Hub is asked, and what comes of it."""

import json
import threading
from urllib.parse import parse_qs, urlsplit

import pytest

from hf_leep import cli
from tests.hub_server import READ_TOKEN, Fault
from tests.warm import HANGING

ASK = """
import json, os, sys
from hf_leep import Search, hub
from hf_leep.errors import HfLeepError
from hf_leep.hub import client, session
session._SECONDS, client._TRIES = float(os.environ["SECONDS"]), 1
try:
    if sys.argv[1] == "collection":
        print(json.dumps(hub.collection(sys.argv[2])))
    else:
        print(json.dumps(hub.search(Search(**json.loads(sys.argv[1])))))
except HfLeepError as error:
    print(json.dumps({"error": type(error).__name__, "message": str(error)}))
"""


@pytest.fixture
def ask(client):
    def run(*arguments, seconds=HANGING, **environment):
        arguments = [a if isinstance(a, str) else json.dumps(a) for a in arguments]
        done = client(*arguments, code=ASK, SECONDS=str(seconds), **environment)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


@pytest.fixture
def models(hub):
    """Nine models whose downloads fall from 900 to 100; the test server gives two a page."""
    for k in range(9):
        hub.add(
            f"{'even' if k % 2 == 0 else 'odd'}/net-{k}",
            downloads=900 - 100 * k,
            pipeline_tag="image-classification" if k < 8 else "text-classification",
            library_name="transformers" if k != 3 else "timm",
            tags=["license:mit" if k % 3 == 0 else "license:apache-2.0", *(["dataset:imagenet-1k"] if k < 4 else [])],
            safetensors={"parameters": {"F32": (k + 1) * 10**6}, "total": (k + 1) * 10**6},
        )
    return hub


def test_a_search_takes_the_first_in_order_over_all_pages(models, ask):
    assert ask({"text": "net", "limit": 5}) == ["even/net-0", "odd/net-1", "even/net-2", "even/net-4", "odd/net-5"]
    assert len(models.requested(r"^GET /api/models\?")) == 3


@pytest.mark.parametrize(
    ("wanted", "numbers"),
    [
        ({"task": "text-classification"}, [8]),
        ({"author": "odd"}, [1, 5, 7]),
        ({"library": "timm"}, [3]),
        ({"library": None, "trained_on": "imagenet-1k"}, [0, 1, 2, 3]),
        ({"license": "mit"}, [0, 6]),
        ({"max_params": "3M"}, [0, 1, 2]),
        ({"max_params": 2_000_000}, [0, 1]),
        ({"min_downloads": 750}, [0, 1]),
        ({"min_downloads": 300, "limit": 2, "author": "odd"}, [1, 5]),
    ],
)
def test_each_filter_keeps_what_it_says(models, ask, wanted, numbers):
    assert [int(name[-1]) for name in ask(wanted)] == numbers


def test_the_hub_is_asked_for_what_it_can_filter_itself(models, ask):
    ask({"text": "net", "task": "image-classification", "license": "mit", "max_params": "5M", "author": "even"})
    query = parse_qs(urlsplit(models.requested(r"^GET /api/models\?")[0]).query)
    assert query["filter"] == ["transformers", "license:mit"]
    assert (query["pipeline_tag"], query["author"], query["search"]) == (["image-classification"], ["even"], ["net"])
    assert (query["num_parameters"], query["sort"]) == (["max:5000000"], ["downloads"])


def test_a_search_that_finds_nothing_says_what_it_asked_for(models, ask):
    answer = ask({"text": "nothing-like-it"})
    assert answer["error"] == "UserError"
    asked = "no checkpoint with search.text nothing-like-it, search.library transformers: try a shorter search.text"
    assert asked in answer["message"]
    limited = ask({"text": "net", "max_params": "10k", "min_downloads": 5})["message"]
    assert "search.max_params 10k, search.min_downloads 5: try" in limited
    assert limited.endswith("or relax search.max_params or search.min_downloads")


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"limit": 0}, "search.limit is 0"),
        ({"sort": "size"}, "unknown search.sort 'size': downloads"),
        ({"max_params": "many"}, "search.max_params is 'many'; give a number such as 100M"),
    ],
)
def test_a_wrong_search_is_refused_before_the_hub_is_asked(models, ask, wanted, message):
    answer = ask(wanted)
    assert answer["error"] == "UserError"
    assert message in answer["message"]
    assert models.log == []


def test_how_to_search_is_nothing_without_what_to_search_for(capsys):
    call = ["rank", "--dataset", "x", "--models", "y", "--limit", "3", "--sort", "likes"]
    assert cli.run(call) == 2
    assert capsys.readouterr().err.startswith("hf-leep: --limit, --sort need a search: add --search TEXT")


def test_a_collection_gives_its_models_in_its_order(hub, ask):
    hub.collections["me/best-01ab"] = [("model", "a/two"), ("dataset", "a/data"), ("model", "a/one")]
    hub.collections["me/rest-02cd"] = [("dataset", "a/data")]
    assert ask("collection", "me/best-01ab") == ["a/two", "a/one"]
    assert ask("collection", f"{hub.url}/collections/me/best-01ab") == ["a/two", "a/one"]
    assert ask("collection", "me/rest-02cd")["message"] == "the collection 'me/rest-02cd' has no models"
    assert "no collection 'me/none-1'" in ask("collection", "me/none-1")["message"]
    assert "is not a collection" in ask("collection", "best-01ab")["message"]


@pytest.mark.parametrize("what", [("collection", "me/best-01ab"), ({"text": "net"},)])
def test_offline_and_a_hub_that_never_answers_are_told_apart(hub, ask, what):
    answer = ask(*what, HF_HUB_OFFLINE="1")
    assert answer["error"] == "UserError"
    assert "needs the Hub, and HF_HUB_OFFLINE is set" in answer["message"]
    hub.faults.append(Fault(r"^GET /api/collections/", until=threading.Event()))
    hub.faults.append(Fault(r"^GET /api/models\?", status=403))
    answer = ask(*what, seconds=0.3, HF_TOKEN=READ_TOKEN)
    assert answer["error"] == "HubError"
    assert "the Hub did not answer" in answer["message"] or "the Hub answered 403" in answer["message"]


def test_the_search_stops_where_the_downloads_are_too_few(models, ask):
    assert len(ask({"min_downloads": 750})) == 2
    assert len(models.requested(r"^GET /api/models\?")) == 2  # of five pages


def test_a_search_that_finds_only_what_cannot_be_ranked_says_what_to_try(hub, client, pictures, tmp_path):
    dataset = tmp_path / "pictures.parquet"
    pictures.to_parquet(dataset)
    hub.add("user/net", {"config.json": b"{}"}, pipeline_tag="image-classification", library_name="transformers")
    for options in (["--dry-run"], []):
        done = client("rank", "--dataset", dataset, "--search", "net", *options)
        assert done.returncode == 1
        assert done.stderr.splitlines()[-1] == (
            "hf-leep: the search found no checkpoint that can be ranked, for the reasons above: try other words for "
            "--search, or a --limit above 20"
        )
    assert "user/net" not in done.stderr, "the plan, which says no more than the report after it, is not shown"
    done = client("rank", "--dataset", dataset, "--search", "net", "--task", "image-classification", "--dry-run")
    assert done.stderr.endswith("or leave out --task: then it is that of your data\n")
    done = client("rank", "--dataset", dataset, "--models", "user/net")
    assert "the search" not in done.stderr
