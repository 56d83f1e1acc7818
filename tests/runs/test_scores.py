"""A pass is scored while no lock is held."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import hf_leep
from hf_leep.measures import MEASURES
from hf_leep.store import Store
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
