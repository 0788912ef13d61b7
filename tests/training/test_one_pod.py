"""`arcface run` with two pods of real ranks: one of them is lost, the other one stays, no image is lost."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from arcface_api.contract.pod_environment import STATES
from arcface_faces import checkpoint
from arcface_operator.decision.recovery import ladder
from arcface_operator.local.kubelet import directories, orphans
from arcface_operator.local.progress import Narrator
from arcface_operator.local.reconciler import TICK_SECONDS, LocalReconciler, StopRequests
from arcface_operator.local.runner import ON_THIS_MACHINE, LocalRun
from support.builders.jobs import make_job
from support.fakes.local_in_world import Notes
from support.processes.trainings import DEADLINE_SECONDS, write_image_folder

BATCH, IMAGES, EVERY_STEPS = 4, 24, 2
STEPS_PER_EPOCH = IMAGES // (2 * BATCH)
KILLED_AFTER = STEPS_PER_EPOCH + 2
"""Steps: in the midst of an epoch."""


@pytest.fixture
def every_steps() -> int:
    """Of a checkpoint on the volume."""
    return EVERY_STEPS


@pytest.fixture
def reconciler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, every_steps: int) -> Iterator[LocalReconciler]:
    """A run that goes on until the test ends it; its ranks write down what they take."""
    (tmp_path / "ids").mkdir()
    monkeypatch.setenv("IDS_FOLDER", str(tmp_path / "ids"))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).with_name("recorder")), prepend=os.pathsep)
    claims = {
        "faces": write_image_folder(tmp_path / "faces", each=IMAGES // 4),
        "checkpoints": tmp_path / "checkpoints",
    }
    job = make_job(
        "two",
        model={"backbone": "iresnet18", "width": 0.0625, "stemStride": 2, "embeddingSize": 16},
        data={"claimName": "faces"},
        training={"epochs": 100_000, "batchSize": BATCH, "optimizer": {"learningRate": 0.001}},
        workers={"accelerator": "cpu", "replicas": 2},
        checkpoint={"claimName": "checkpoints", "everySteps": every_steps},
    )
    run, view = LocalRun(job, ON_THIS_MACHINE, claims), Notes()
    with directories.locked_workdir(tmp_path / "work") as workdir:
        directories.create_claims(claims)
        with run.open_cluster(workdir, view, StopRequests()) as cluster:
            narrator = Narrator(view, workdir.logs)
            yield LocalReconciler(run.job, cluster, ON_THIS_MACHINE, narrator, StopRequests())


def look_until(reconciler: LocalReconciler, condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert not reconciler.look(), reconciler.job.status.to_json()
        assert time.monotonic() < deadline, reconciler.job.status.to_json()
        time.sleep(TICK_SECONDS)


def launcher_of(reconciler: LocalReconciler, index: int) -> int:
    """The first process of a pod."""
    found = orphans.marked(reconciler.pods.kubelet.folder(f"two-worker-{index}"))
    commands = {pid: Path(f"/proc/{pid}/cmdline").read_bytes() for pid in found}
    (launcher,) = (pid for pid, text in commands.items() if b"--termination-log" in text and b"shim" not in text)
    return launcher


def states_of(reconciler: LocalReconciler, index: int) -> Path:
    """The folder of a pod's states, which its ranks are told of."""
    pod = reconciler.pods.kubelet.folder(f"two-worker-{index}")
    variables = (line for pid in orphans.marked(pod) for line in environment(pid))
    return Path(next(line for line in variables if line.startswith(f"{STATES}=")).partition("=")[2])


def environment(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/environ").read_text().split("\0")


def steps_in(folder: Path) -> list[int]:
    return [checkpoint.step_of(state) for state in checkpoint.checkpoints(folder)]


def taken(folder: Path, rank: int) -> list[tuple[int, tuple[int, ...]]]:
    """Each step of a rank with its images; a line that a kill has cut off counts for nothing."""
    processes = sorted(folder.glob(f"{rank}.*.ids"), key=lambda path: path.stat().st_mtime_ns)
    lines = (line for path in processes for line in path.read_text().splitlines(keepends=True))
    rows = (line.split() for line in lines if line.endswith("\n"))
    return [(int(step), tuple(map(int, ids))) for step, *ids in rows]


def has_come_to(reconciler: LocalReconciler, step: int) -> bool:
    progress = reconciler.job.status.progress
    return progress is not None and progress.step >= step


def step_after_one_pod_anew(reconciler: LocalReconciler, lost: int, ids: Path) -> int:
    """Where a training goes on from that has just lost a pod, by its launcher; no image is left out or taken twice."""
    stays = launcher_of(reconciler, 0)
    look_until(reconciler, lambda: reconciler.job.status.restarts == 1)
    look_until(reconciler, lambda: not ladder.is_open(reconciler.job.status))
    status = reconciler.job.status
    assert (status.phase, status.attempt, status.launch) == ("Training", 0, 1)
    assert [each.rung for each in status.recoveries] == ["OnePod"]
    assert launcher_of(reconciler, 0) == stays
    assert launcher_of(reconciler, 1) != lost
    reconciler.pods.kill()
    rows = [taken(ids, rank) for rank in range(2)]
    goes_on = [[later for (earlier, _), (later, _) in pairwise(row) if later != earlier + 1] for row in rows]
    assert goes_on[0] == goes_on[1], "both go on from one state"
    assert len(goes_on[0]) == 1
    for row in rows:
        assert len(set(row)) == len(dict(row)), "a step that is made again takes the same images"
    made = min(max(dict(row)) for row in rows) + 1
    assert made >= KILLED_AFTER
    for epoch in range(made // STEPS_PER_EPOCH):
        steps = range(epoch * STEPS_PER_EPOCH, (epoch + 1) * STEPS_PER_EPOCH)
        assert sorted(number for row in rows for step in steps for number in dict(row)[step]) == list(range(IMAGES))
    return goes_on[0][0]


def test_a_killed_launcher_costs_its_own_pod_alone_and_no_image(reconciler: LocalReconciler, tmp_path: Path) -> None:
    look_until(reconciler, lambda: has_come_to(reconciler, KILLED_AFTER))
    lost = launcher_of(reconciler, 1)
    os.kill(lost, signal.SIGKILL)
    assert step_after_one_pod_anew(reconciler, lost, tmp_path / "ids") % EVERY_STEPS == 0


@pytest.mark.parametrize("every_steps", [100_000])
def test_a_pod_that_is_cut_off_lives_on_in_vain_and_its_neighbour_has_its_state(
    reconciler: LocalReconciler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its kubelet is dead, it reaches all others, its memory is lost, and on the volume is nothing."""
    look_until(reconciler, lambda: has_come_to(reconciler, KILLED_AFTER))
    states = states_of(reconciler, 0)
    look_until(reconciler, lambda: steps_in(states / "copies-of-1"))
    lost, own = launcher_of(reconciler, 1), steps_in(states / "rank-0")
    kubelet = reconciler.pods.kubelet
    folders = {f"two-worker-{index}": kubelet.folder(f"two-worker-{place}") for index, place in ((0, 0), (1, "new"))}
    cut_off = reconciler.pods.pods.pop("two-worker-1").process
    monkeypatch.setattr(kubelet, "folder", folders.__getitem__)
    step = step_after_one_pod_anew(reconciler, lost, tmp_path / "ids")
    assert step in own, "no more than what came after the last state is made again"
    assert step > 0
    assert Path(f"/proc/{lost}").exists()
    cut_off.shim.kill()
    cut_off.reap()
