"""A launcher's folder in shared memory, and what may be written there: the least of mount, limit and node."""

import os
import signal
import subprocess
import sys

import pytest

from arcface_trainer.shared_memory import (
    LOCK,
    PREFIX,
    folder_of_launcher,
    free_bytes,
    held_bytes,
    left_bytes,
    remove_graphs,
)

GIB = 2**30
V2 = {
    "memory.max": 8 * GIB,
    "memory.current": 6 * GIB,
    "memory.stat": f"anon {GIB}\ninactive_file {GIB}\nactive_file 3",
}
V1 = {
    "memory/memory.limit_in_bytes": 8 * GIB,
    "memory/memory.usage_in_bytes": 6 * GIB,
    "memory/memory.stat": f"total_rss 7\ntotal_inactive_file {GIB}\ntotal_active_file 3\ninactive_file 9",
}
HOLDER = """
import sys, time
from pathlib import Path
from arcface_trainer.shared_memory import folder_of_launcher
with folder_of_launcher(Path(sys.argv[1])) as folder:
    print(folder, flush=True)
    time.sleep(600)
"""


def test_it_is_there_as_long_as_the_launcher_wants_it(tmp_path):
    with folder_of_launcher(tmp_path) as folder:
        (folder / "rank-0").mkdir()
        assert [path.name for path in tmp_path.iterdir()] == [folder.name]
    assert list(tmp_path.iterdir()) == []


def test_compiled_steps_go_alone(tmp_path):
    for name in ("graph-1f0e-TrainStep", "rank-0"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").touch()
    remove_graphs(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["rank-0"]


def test_what_a_killed_launcher_leaves_is_removed_by_the_next_and_what_a_living_one_has_is_not(tmp_path):
    with subprocess.Popen([sys.executable, "-c", HOLDER, tmp_path], stdout=subprocess.PIPE, text=True) as holder:
        left = holder.stdout.readline().strip()
        with folder_of_launcher(tmp_path):
            assert left in {str(path) for path in tmp_path.iterdir()}
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        assert left in {str(path) for path in tmp_path.iterdir()}
        with folder_of_launcher(tmp_path) as folder:
            assert [str(path) for path in tmp_path.iterdir()] == [str(folder)]


def test_a_folder_that_is_just_being_made_is_left_alone(tmp_path):
    making = tmp_path / f"{PREFIX}new"
    making.mkdir()
    (making / f".{LOCK}").touch()
    with folder_of_launcher(tmp_path):
        assert making.is_dir()


def test_a_machine_without_shared_memory_has_none(tmp_path):
    with folder_of_launcher(tmp_path / "absent") as folder:
        assert folder is None


@pytest.fixture
def kernel(tmp_path):
    """Files as the kernel shows them, of a node with plenty of memory."""

    def write(files, available=2**40):
        (tmp_path / "proc").mkdir()
        (tmp_path / "proc/meminfo").write_text(f"MemTotal: 7 kB\nMemAvailable:   {available // 1024} kB\n")
        for name, content in files.items():
            path = tmp_path / "sys/fs/cgroup" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{content}\n")
        return tmp_path

    return write


@pytest.mark.parametrize("files", [V2, V1], ids=["v2", "v1"])
def test_a_limit_leaves_what_is_not_used_or_can_be_taken_back(tmp_path, kernel, files, monkeypatch):
    monkeypatch.setattr(os, "statvfs", lambda _: os.statvfs_result((4096, 4096, 2**30, 2**30, 2**30, 0, 0, 0, 0, 255)))
    assert free_bytes(tmp_path, kernel(files)) == left_bytes(tmp_path) == 3 * GIB + 3


def test_a_limit_that_is_not_set_leaves_the_mount_and_the_node(tmp_path, kernel, monkeypatch):
    monkeypatch.setattr(os, "statvfs", lambda _: os.statvfs_result((4096, 4096, 2**30, 2**30, 2**20, 0, 0, 0, 0, 255)))
    assert free_bytes(tmp_path, kernel(V2 | {"memory.max": "max"})) == 4 * GIB
    assert left_bytes(tmp_path) == 2**40
    (tmp_path / "proc/meminfo").write_text("MemAvailable: 1024 kB\n")
    assert free_bytes(tmp_path, tmp_path) == 2**20


def test_a_limit_that_is_passed_leaves_nothing(tmp_path, kernel):
    assert free_bytes(tmp_path, kernel(V2 | {"memory.max": GIB})) == 0


def test_what_the_kernel_does_not_tell_counts_as_nothing(tmp_path):
    assert free_bytes(tmp_path, tmp_path / "nowhere") == 0


def test_what_a_folder_holds_is_the_sum_of_its_files_while_others_remove_some(tmp_path):
    (tmp_path / "rank-0" / "step-00000004").mkdir(parents=True)
    (tmp_path / "rank-0" / "step-00000004" / "head").write_bytes(bytes(1000))
    (tmp_path / "lock").write_bytes(bytes(24))
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    assert held_bytes(tmp_path) == 1024
    assert held_bytes(tmp_path / "absent") == 0
