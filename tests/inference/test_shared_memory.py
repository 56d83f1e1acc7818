"""Memory that other processes see: it never is a bus error, and nothing is left of it."""

import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from hf_leep.inference.shared_memory import Block


def resident(block):
    return os.fstat(block.fd).st_blocks * 512


@pytest.mark.parametrize("room", [None, 2**26])
def test_a_block_is_reserved_whole_and_has_no_name(room, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    block = Block.create(2**27, room)
    assert resident(block) >= 2**27
    assert list(tmp_path.iterdir()) == []
    in_file = os.fstat(block.fd).st_dev == os.stat(tmp_path).st_dev
    assert in_file == (room is not None)
    np.frombuffer(block.memory, dtype=np.uint8)[:] = 7
    again = Block.open(os.dup(block.fd), block.size)
    assert again.memory[-1] == 7
    block.close()
    again.close()


def test_no_room_anywhere_is_an_error_and_not_a_crash():
    with pytest.raises(MemoryError, match="no room for"):
        Block.create(2**60)


@pytest.mark.skipif(sys.platform != "linux", reason="name spaces of Linux")
def test_with_64_megabytes_of_shared_memory_as_in_a_container(tmp_path):
    inside = textwrap.dedent("""
        import os
        from hf_leep.inference.shared_memory import Block
        size = os.statvfs("/dev/shm").f_bavail * os.statvfs("/dev/shm").f_frsize
        assert size <= 2**26, size
        for kind in ("memfd", "file"):
            if kind == "file":
                del os.memfd_create
            blocks = [Block.create(2**25) for _ in range(6)]
            for block in blocks:
                block.memory[:] = bytes([3]) * block.size
            for block in blocks:
                block.close()
        print("done")
    """)
    command = f"mount -t tmpfs -o size=64m none /dev/shm && exec {sys.executable} -c '{inside}'"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        ["unshare", "--mount", "--map-root-user", "sh", "-c", command],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    if "unshare" in done.stderr or "mount:" in done.stderr:
        pytest.skip(f"no name space of its own: {done.stderr.strip()[:80]}")
    assert done.stdout == "done\n", done.stderr
    assert list(tmp_path.iterdir()) == []
