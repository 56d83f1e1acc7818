"""What stands in for a fresh interpreter in other tests behaves like one."""

import json
import os
import signal
import subprocess
import sys

import pytest

from tests.warm import HANGING, PLACEHOLDERS

pytestmark = pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="warm.py needs Linux")

CASES = {
    "exit code": ["-c", "import sys; print('out'); print('err', file=sys.stderr); sys.exit(7)"],
    "words of an exit": ["-c", "import sys; sys.exit('no')"],
    "an error": ["-c", "1 / 0"],
    "standard input": ["-c", "import sys; print(sys.argv, sys.stdin.read()[::-1])", "a b", "ü"],
    "signal": ["-c", "import os; os.kill(os.getpid(), 15)"],
    "interrupt": ["-c", "import os; os.kill(os.getpid(), 2)"],
    "what runs at the end": [
        "-c",
        "import atexit, threading as t; atexit.register(print, 2); t.Thread(target=print, args=(1,)).start()",
    ],
    "module": ["-m", "json.tool", "--compact"],
    "script": ["script.py", "x"],
    "encoding": ["-c", "print('é')"],
    "warnings": ["-c", "import warnings; warnings.warn('old', DeprecationWarning)"],
}


@pytest.mark.parametrize("case", CASES)
def test_it_does_what_an_interpreter_does(python, tmp_path, case):
    (tmp_path / "script.py").write_text("import sys; print(sys.argv, __name__, __file__, sys.path[0])")
    environment = {
        **os.environ,
        "PYTHONIOENCODING": "latin-1" if case == "encoding" else "utf-8",
        "PYTHONWARNINGS": "error::DeprecationWarning",
    }
    options = {"input": b"[1, 2]", "capture_output": True, "cwd": tmp_path, "env": environment, "timeout": HANGING}
    one, other = (subprocess.run([*start, *CASES[case]], **options) for start in (python, [sys.executable]))
    assert (one.returncode, one.stdout) == (other.returncode, other.stdout), one.stderr.decode()
    assert one.stderr.splitlines()[-1:] == other.stderr.splitlines()[-1:]


LOOK = """
import gc, json, sys, types
from pathlib import Path
import datasets, evaluate, huggingface_hub, transformers
from huggingface_hub import constants
from huggingface_hub.utils import tqdm
from transformers.utils import hub
names = ("ENDPOINT", "HF_HOME", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "HF_HUB_DISABLE_PROGRESS_BARS")
found = {name: getattr(constants, name) for name in names}
found["urls"] = [datasets.config.HF_ENDPOINT, evaluate.config.HF_ENDPOINT]
found["modules"] = [str(datasets.config.HF_MODULES_CACHE), hub.HF_MODULES_CACHE]
held = [(name, value) for name, module in sys.modules.items() for value in list(vars(module).values())
        if "__main__" not in name and "__mp_main__" not in name and "accelerate" not in name]
held += [(name, part) for name, value in held if isinstance(value, types.FunctionType)
         for part in gc.get_referents(value.__defaults__, value.__kwdefaults__)]
held += [(name, part) for name, value in held if isinstance(value, type) for part in vars(value).values()]
held += [(name, part) for name, value in held if type(value) in (tuple, list, dict)
         for part in gc.get_referents(value)]
held = [(name, str(value)) for name, value in held if isinstance(value, (str, Path))]
found["left"] = [(name, text) for name, text in held if "of-warm" in text]
print(json.dumps(found))
"""


def test_the_settings_of_the_environment_hold_and_nothing_of_the_server_s_is_left(python, tmp_path):
    assert all("of-warm" in text for text in PLACEHOLDERS.values())
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    for url, offline in (("http://127.0.0.1:9", "1"), ("http://127.0.0.1:10", "0")):
        home = str(tmp_path / offline)
        environment = {**kept, "HF_HOME": home, "HF_ENDPOINT": url, "HF_HUB_OFFLINE": offline}
        command = [*python, "-c", LOOK]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=HANGING)
        assert json.loads(done.stdout) == {
            "ENDPOINT": url,
            "HF_HOME": home,
            "HF_HUB_CACHE": f"{home}/hub",
            "HF_HUB_OFFLINE": offline == "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": None,
            "urls": [url, url],
            "modules": [f"{home}/modules", f"{home}/modules"],
            "left": [],
        }, done.stderr


def test_signals_reach_the_child_and_a_killed_caller_takes_it_along(python):
    # A handler that printed might interrupt a print.
    code = "import os, signal; print(os.getpid(), flush=True); signal.signal(10, lambda *_: os.write(1, b'10\\n'))\n"
    code += "print('here', flush=True)\nwhile True: signal.pause()"
    running = subprocess.Popen([*python, "-c", code], stdout=subprocess.PIPE, text=True)
    assert int(running.stdout.readline()) != running.pid
    assert running.stdout.readline() == "here\n"
    running.send_signal(signal.SIGUSR1)
    assert running.stdout.readline() == "10\n"
    running.kill()
    running.communicate(timeout=HANGING)  # until the child, which holds the pipe too, is gone
    assert running.returncode == -signal.SIGKILL
