"""``hf leep …``: hf_leep as an extension of the ``hf`` command line, installed as its installer does."""

import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

from tests.warm import HANGING


def test_hf_leep_is_an_extension_of_hf(tmp_path):
    scripts = Path(sys.executable).parent
    environment = {**os.environ, "HOME": str(tmp_path), "HF_HUB_DISABLE_UPDATE_CHECK": "1", "NO_COLOR": "1"}
    install = f"""
from datetime import datetime
from huggingface_hub.cli.extensions import ExtensionManifest, _get_extension_dir
ExtensionManifest(owner="owner", repo="hf-leep", repo_id="owner/hf-leep", short_name="leep", type="python",
                  executable_path={str(scripts / "hf-leep")!r},
                  installed_at=datetime.fromisoformat({datetime.now(UTC).isoformat()!r})).save(_get_extension_dir("leep"))
"""
    subprocess.run([sys.executable, "-c", install], env=environment, check=True, timeout=HANGING)

    def hf(*arguments):
        command = [str(scripts / "hf"), *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=HANGING)

    assert "leep" in hf("extensions", "list").stdout
    shown = hf("leep", "--version")
    assert (shown.returncode, shown.stdout.split()[0]) == (0, "hf-leep"), shown.stderr
    # Arguments and the exit code are passed on.
    wrong = hf("leep", "rank", "--dataset", str(tmp_path / "none"), "--models", "x")
    assert (wrong.returncode, "no such file or folder" in wrong.stderr) == (2, True), wrong.stderr
