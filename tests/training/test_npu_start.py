"""Ascend pods as the operator makes them meet, train and save; only the computing is a CPU's.

What is real: the manifests, the rank table, the launcher, MindSpore's scheduler and its ranks. What is not: HCCL and
the cards, which nobody has here. That such a job resumes is looked at on a real node
(`tests/cluster/real_node/test_end_to_end.py`).
"""

import os
import signal
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from arcface_faces.checkpoint import newest_complete, read_manifest
from support.processes.ascend_gang import AscendGang, AscendPod
from support.processes.trainings import children, write_image_folder
from support.waiting import wait_until

TOTAL_STEPS = 3 * (4 * 12 // 8)
PROMPTLY = 5.0
"""Seconds; an idle machine needs less than one, of the 120 that a pod has to stop in."""
AS_FIRST_PROCESS = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")
"""As a container's runtime starts it: the kernel drops signals that the first process has no handler for."""
WAYS = [
    pytest.param((), id="as any process"),
    pytest.param(
        AS_FIRST_PROCESS, id="as PID 1", marks=pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root")
    ),
]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_image_folder(tmp_path_factory.mktemp("images"))


def run(gang: AscendGang, stack: ExitStack) -> list[AscendPod]:
    """Start both pods, and let the table come when they are waiting for it."""
    pods = [stack.enter_context(gang.pod(index)) for index in range(2)]
    for pod in pods:
        pod.wait_for_log("does not list rank")
        pod.show(gang.table())
    return pods


def test_the_pods_of_an_ascend_job_join_train_and_save_when_they_are_stopped(tmp_path: Path, images: Path) -> None:
    gang = AscendGang(tmp_path, images)
    with ExitStack() as stack:
        first, second = run(gang, stack)
        first.wait_for_step(3)
        check_variables(gang, first, second)
        for pod in (first, second):
            pod.process.send_signal(signal.SIGTERM)
        assert (first.wait(), second.wait()) == (143, 143), first.output() + second.output()
    stopped_at = first.report()["checkpoint"]["step"]
    assert 3 <= stopped_at < TOTAL_STEPS
    manifest = read_manifest(newest_complete(gang.checkpoints))
    assert manifest.step == stopped_at
    assert manifest.loss_scale is not None, "the default precision is fp16"
    assert first.report()["progress"]["lossScale"] == manifest.loss_scale.scale


def check_variables(gang: AscendGang, first: AscendPod, second: AscendPod) -> None:
    """Every rank has what MindSpore and HCCL ask for, and one scheduler runs, beside rank 0."""
    processes = first.ranks() | second.ranks()
    assert sorted(processes) == ["MS_SCHED 0", *(f"MS_WORKER {rank}" for rank in range(4))]
    assert "MS_SCHED 0" in first.ranks()
    for rank in range(4):
        variables = processes[f"MS_WORKER {rank}"]
        assert variables["MS_SCHED_HOST"] == gang.addresses[0]
        assert (variables["DEVICE_ID"], variables["RANK_ID"], variables["RANK_SIZE"]) == (str(rank % 2), str(rank), "4")
        assert Path(variables["RANK_TABLE_FILE"]).read_text() == gang.table()
        assert (variables["HCCL_CONNECT_TIMEOUT"], variables["HCCL_EXEC_TIMEOUT"]) == ("1620", "1620")
        assert "HCCL_IF_IP" not in variables


def test_a_rank_alone_needs_neither_table_nor_scheduler(tmp_path: Path, images: Path) -> None:
    workers = {"accelerator": "ascend", "replicas": 1, "devicesPerWorker": 1}
    gang = AscendGang(tmp_path, images, workers=workers, training={"epochs": 1, "batchSize": 8})
    with gang.pod(0) as pod:
        assert pod.wait() == 0, pod.output()
    assert not {"MS_ROLE", "MS_SCHED_HOST", "RANK_TABLE_FILE"} & set(pod.spec.environment)


@pytest.mark.parametrize("wrapper", WAYS)
def test_a_pod_that_waits_for_the_table_stops_at_once(tmp_path: Path, images: Path, wrapper: tuple[str, ...]) -> None:
    with AscendGang(tmp_path, images).pod(1, wrapper) as pod:
        pod.wait_for_log("does not list rank 2")
        assert_stops_at_once(pod, wrapper, "stopped before the pods had met")


@pytest.mark.parametrize("wrapper", WAYS)
def test_ranks_that_wait_for_their_peers_stop_at_once(tmp_path: Path, images: Path, wrapper: tuple[str, ...]) -> None:
    gang = AscendGang(tmp_path, images)
    with gang.pod(0, wrapper) as pod:
        pod.show(gang.table())
        pod.wait_for_log("device number=0")  # the next that a rank does is to join the others
        assert_stops_at_once(pod, wrapper, "stopped before the ranks had joined")


@pytest.mark.parametrize("wrapper", WAYS)
def test_a_pod_stops_from_its_first_moment_on(tmp_path: Path, images: Path, wrapper: tuple[str, ...]) -> None:
    """As soon as the command takes SIGTERM at all, before its own modules are loaded."""
    with AscendGang(tmp_path, images).pod(1, wrapper) as pod:
        wait_until(lambda: takes_sigterm(main_process(pod, wrapper)))
        began = time.monotonic()
        os.kill(main_process(pod, wrapper), signal.SIGTERM)
        assert pod.wait() == 143, pod.output()
        assert time.monotonic() - began < PROMPTLY


def assert_stops_at_once(pod: AscendPod, wrapper: tuple[str, ...], message: str) -> None:
    """SIGTERM ends the pod with the code and the report of a stop."""
    began = time.monotonic()
    os.kill(main_process(pod, wrapper), signal.SIGTERM)
    assert pod.wait() == 143, pod.output()
    assert time.monotonic() - began < PROMPTLY
    failure = pod.report()["failure"]
    assert (failure["reason"], failure["exitCode"]) == ("Stopped", 143)
    assert message in failure["message"]


def main_process(pod: AscendPod, wrapper: tuple[str, ...]) -> int:
    """The pod's main process as this namespace counts; 0 while there is none."""
    if not wrapper:
        return pod.process.pid
    return next(iter(children(pod.process.pid)), 0)


def takes_sigterm(process: int) -> bool:
    """Whether a process of ours is there and has a handler."""
    status = Path(f"/proc/{process}/status")
    if not process or not status.is_file():
        return False
    caught = next(line for line in status.read_text().splitlines() if line.startswith("SigCgt:"))
    return bool(int(caught.split()[1], 16) >> (signal.SIGTERM - 1) & 1)
