"""The memory that a container leaves, from the files of its control groups."""

import psutil
import pytest

from hf_leep.inference import memory


@pytest.fixture
def groups(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "_GROUPS", tmp_path)
    monkeypatch.setattr(memory, "_OWN", tmp_path / "own")

    def write(line, folder, **files):
        (tmp_path / "own").write_text(line)
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (tmp_path / folder / name.replace("__", ".")).write_text(text)

    return write


def test_without_limits_it_is_what_the_machine_has_free(groups):
    groups("0::/", ".", memory__max="max\n", memory__current="5\n")
    free = psutil.virtual_memory().available
    assert memory.available_memory() == pytest.approx(free, rel=0.2)


@pytest.mark.parametrize("folder", ["pod/box", "pod", "."])  # the parent's limit holds too; a container sees the root
def test_the_limit_of_a_group_and_of_those_around_it(groups, folder):
    groups(
        "0::/pod/box\n",
        folder,
        memory__max="1000\n",
        memory__current="900\n",
        memory__stat="anon 100\ninactive_file 50\n",
    )
    assert memory.available_memory() == 150


def test_the_older_version_of_groups(groups):
    files = {"memory__limit_in_bytes": "1000", "memory__usage_in_bytes": "1200"}
    groups("12:cpu,cpuacct:/a\n7:memory:/docker/1\n0::/\n", "memory", **files)
    assert memory.available_memory() == 0
