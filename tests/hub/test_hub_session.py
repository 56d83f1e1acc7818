"""What a user's own calls of huggingface_hub find after hf_leep has used its session."""

from tests.hub_server import Fault

BEFORE_AND_AFTER = """
import logging, threading
from huggingface_hub import HfApi
from huggingface_hub.utils import _http, get_session
from hf_leep import hub
from hf_leep.errors import HfLeepError

LOGGERS = [logging.getLogger(f"huggingface_hub.{name}") for name in ("utils._http", "_commit_api")]

def state():
    kept = get_session()
    return _http._GLOBAL_CLIENT_FACTORY, kept, kept.event_hooks, kept.timeout, [l.filters for l in LOGGERS]

def plan(name):
    try:
        hub.resolve(name)
    except HfLeepError as error:
        print(error)

before = repr(state())
threads = [threading.Thread(target=plan, args=(name,)) for name in ("user/five", "user/none", "user/busy")]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert repr(state()) == before, (before, state())
with hub.within_limits():
    assert repr(state()) != before
    own = _http.default_client_factory
    _http.set_client_factory(lambda: own())  # the user's, in the middle
    get_session()
assert "hf_leep" not in repr(state()), state()
HfApi().model_info("user/five")
HfApi().hf_hub_download("user/five", "README.md")
"""


def test_the_session_is_as_before_when_hf_leep_has_ended(hub, client, checkpoints):
    hub.add_folder("user/five", checkpoints["five"])
    hub.repos["model", "user/five"].commit({"README.md": b"# Five"})
    hub.add_folder("user/busy", checkpoints["five"])
    hub.faults.append(Fault(r"/models/user/busy", times=1, status=429, headers={"Retry-After": "0"}))
    hub.faults.append(
        Fault(r"^GET /user/five/resolve/main/README.md", times=1, status=429, headers={"Retry-After": "0"})
    )
    done = client(code=BEFORE_AND_AFTER)
    assert done.returncode == 0, done.stderr
    assert "no such model on the Hub" in done.stdout
    # huggingface_hub says in its own words that it waits, again.
    assert "HTTP Error 429 thrown while requesting GET" in done.stderr
    assert "Rate limited. Waiting 1.0s" in done.stderr
