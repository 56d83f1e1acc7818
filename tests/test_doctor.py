"""What ``hf-leep doctor`` finds, and what it does not show."""

import json

from tests.hub_server import WRITE_TOKEN


def test_it_says_what_is_here_and_shows_no_secret(client, hub):
    done = client("doctor", "--json", HF_TOKEN=WRITE_TOKEN, HF_ENDPOINT=hub.url.replace("://", "://user:secret@"))
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["token"] == "found"
    assert found["Hub"] == f"{hub.url} answers"
    assert found["torch"].startswith("2.")
    assert WRITE_TOKEN not in done.stdout + done.stderr
    assert "secret" not in done.stdout + done.stderr


def test_a_hub_that_cannot_be_reached_is_a_line(client):
    done = client("doctor", HF_ENDPOINT="http://127.0.0.1:9")
    assert done.returncode == 0, done.stderr
    assert "http://127.0.0.1:9 cannot be reached: " in done.stdout
    assert "none: only public repositories can be read (hf auth login)" in done.stdout


def test_caches_that_cannot_be_used_are_lines(client, tmp_path):
    (tmp_path / "file").write_text("")
    done = client("doctor", HF_ENDPOINT="http://127.0.0.1:9", HF_HOME=str(tmp_path / "file" / "home"))
    assert done.returncode == 0, done.stderr
    assert "(cannot be used)" in done.stdout
    assert "cannot be read (" in done.stdout
