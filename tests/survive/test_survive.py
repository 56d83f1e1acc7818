"""The short form of ``make survive``: a few of each kind; the program tries hundreds."""

import json
from unittest import mock

import numpy as np
import pytest

from tests import hub_server
from tests.survive import checkpoints, crowds, reports, strangers
from tests.survive.ground import CANARY, Ground, Row, images, pictures
from tests.survive.kills import Killing

KINDS = (
    "depths-text", "act-list", "labels-10-to-9", "channels-10-to-7", "code", "processor-mean-long", "weights-short",
    "weights-pickled", "weights-device", "index-of-passwords", "config-3", "card-pipe",
)  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory, python):
    """A ground, rows, and good checkpoints."""
    root = tmp_path_factory.mktemp("survive")
    return Ground(root, python), pictures(root / "pictures.parquet"), images(root, 8)


def lost(part, *arguments, **options):
    """What a part has lost; it has tried something."""
    row = Row("part")
    part(row, *arguments, **options)
    assert row.tried
    return row.lost


def test_killed_processes_lose_nothing_and_no_finished_pass_is_run_twice(place):
    ground, data, good = place
    killing = Killing(ground, data, good[:3], np.random.default_rng(1))
    with mock.patch.object(hub_server, "WRITE_TOKEN", CANARY), hub_server.Hub() as hub:
        hub.limits = crowds.Quotas({}, 0)  # none
        hub.server.handle_error = lambda *_: None
        assert lost(killing.main_processes, 1) == []
        assert lost(killing.workers, 1) == []
        assert lost(killing.writing, 1) == []
        assert lost(killing.pushing, 1, hub) == []
        ground.hub = hub.url
        try:
            assert lost(reports.fuzz, ground, ground.root / "good", 24, np.random.default_rng(2)) == []
        finally:
            ground.hub = None
    assert lost(crowds.token_in, [ground.root]) == []


def test_eight_good_candidates_are_ranked_among_twelve_hostile_ones_as_without_them(place):
    ground, data, good = place
    spoils = {kind: checkpoints.REFUSED[kind] for kind in KINDS}
    assert lost(strangers.beside_good_ones, ground, data, good, spoils, refused=True) == []


def test_damaged_data_is_one_line(place):
    ground, data, good = place
    assert lost(strangers.as_data, ground, data, good[:1], ["cut.parquet", "pipe.csv", "mixed.jsonl"]) == []


def test_two_runs_at_once_run_each_pass_once(place):
    ground, data, good = place
    assert lost(crowds.at_once, ground, data, good[:3], 2) == []


def test_what_is_lost_is_counted():
    row = Row("part")
    row.check("a", "", False, None)
    row.check("b", "wrong", True)
    assert (row.tried, row.lost) == (2, ["b: wrong; True"])


def test_the_words_of_a_limit_are_the_hub_s():
    quotas = crowds.Quotas({"api": 2}, rest=9.0)
    answers = [quotas.check("/api/models/a/b") for _ in range(3)]
    assert [allowed for allowed, _ in answers] == [True, True, False]
    assert [headers["RateLimit"] for _, headers in answers] == ['"api";r=1;t=9', '"api";r=0;t=9', '"api";r=0;t=9']
    assert answers[0][1]["RateLimit-Policy"] == '"fixed window";"api";q=2;w=9'
    assert quotas.check("/lab/net/resolve/main/config.json") == (True, {})


def test_damage_of_one_seed_is_the_same_damage(place):
    text = json.dumps({"a": [1, 2.5, "x"], "b": {"c": None}})
    made = [[reports.damaged(text, np.random.default_rng(seed)) for seed in range(20)] for _ in range(2)]
    assert made[0] == made[1]
    assert len(set(made[0])) > 10
