"""A pass is scored while no lock is held."""

import io
import json
import os
import subprocess
import sys
from dataclasses import replace

from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars
from threadpoolctl import threadpool_info, threadpool_limits

import hf_leep
from hf_leep.measures import MEASURES
from hf_leep.ranking import scoring
from hf_leep.runs import scores
from hf_leep.store import Store
from tests.ranking.extractions import extraction, signal
from tests.warm import HANGING

OTHER_RUN = """
import json, sys
import hf_leep
report = hf_leep.rank([sys.argv[1]], sys.argv[2], measures=["leep"], progress=False)
print(json.dumps({"from_store": report.candidates[0]["run"]["from_store"], "torch": "torch" in sys.modules}))
"""


def test_another_process_reads_a_finished_pass_while_the_first_one_scores_it(
    checkpoints, pictures, tmp_path, monkeypatch
):
    pictures.to_parquet(tmp_path / "pictures.parquet")
    arguments = str(checkpoints["five"]), str(tmp_path / "pictures.parquet")
    command = [sys.executable, "-c", OTHER_RUN, *arguments]
    environment = {**os.environ, "HF_HOME": str(tmp_path)}
    monkeypatch.setattr(Store, "default_root", staticmethod(lambda: tmp_path / "hf_leep"))
    nce, runs = MEASURES["nce"], []

    def influence(inputs, labels):
        """Takes as long as a whole run of another process, which waits for any lock on the pass."""
        if not runs:  # the self-check calls it as well
            runs.append(None)
            done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=HANGING)
            runs[0] = json.loads(done.stdout) if done.returncode == 0 else done.stderr
        return nce.influence(inputs, labels)

    monkeypatch.setitem(MEASURES.data, "nce", replace(nce, influence=influence))
    report = hf_leep.rank([arguments[0]], arguments[1], measures=["nce"], progress=False)
    assert runs == [{"from_store": True, "torch": False}]
    assert report.candidates[0]["scores"]["nce"]["value"] is not None
    assert not report.candidates[0]["run"]["from_store"]


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_bar_counts_the_measures(rng, monkeypatch):
    y = rng.integers(0, 3, 60)
    found = extraction("some/model", signal(rng, y, 4, 2.0), y)
    ticks = []
    scoring.score(found, ["leep", "logme", "nce"], lambda: ticks.append(None))  # one of them does not apply
    assert len(ticks) == 3

    globals_ = are_progress_bars_disabled.__globals__
    for name in [name for name in globals_ if name.endswith("DISABLE_PROGRESS_BARS")]:
        monkeypatch.setitem(globals_, name, None)  # it is set for all tests
    if "constants" in globals_:
        monkeypatch.setattr(globals_["constants"], "HF_HUB_DISABLE_PROGRESS_BARS", None)
    enable_progress_bars()

    def shown(progress):
        screen = Terminal()
        monkeypatch.setattr("sys.stderr", screen)
        scores.score(found, ("leep", "nce"), False, progress)
        return screen.getvalue()

    assert "scoring model:   0%" in shown(True)
    assert shown(False) == ""
    disable_progress_bars()
    try:
        assert shown(True) == ""
    finally:
        enable_progress_bars()


def test_scores_are_computed_on_one_thread(rng, monkeypatch):
    y = rng.integers(0, 3, 60)
    seen, nce = [], MEASURES["nce"]

    def influence(inputs, labels):
        seen.extend(pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas")
        return nce.influence(inputs, labels)

    monkeypatch.setitem(MEASURES.data, "nce", replace(nce, influence=influence))
    with threadpool_limits(limits=2, user_api="blas"):
        scores.score(extraction("m", signal(rng, y, 4, 2.0), y), ("nce",), False)
    assert set(seen) == {1}
