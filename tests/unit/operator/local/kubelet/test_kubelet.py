"""Real processes: what a pod sees, how it ends, and that nothing of it stays."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from arcface_operator.local.kubelet.cards import PodCards
from arcface_operator.local.kubelet.directories import Workdir, locked_workdir
from arcface_operator.local.kubelet.kubelet import Kubelet, PodProcess, draw_addresses, is_free
from arcface_operator.local.kubelet.orphans import marked
from support.builders.pods import make_pod
from support.waiting import wait_until

PRINT_WHAT_IT_SEES = """
import json, os, pathlib, sys
config = pathlib.Path(sys.argv[1])
print("hello from", os.environ["POD_NAME"])
pathlib.Path(sys.argv[2]).write_text(json.dumps({
    "address": os.environ["POD_IP"], "peer": os.environ["PEER"], "config": json.loads(config.read_text()),
    "scratch": os.path.isdir(os.environ["SCRATCH"]), "cwd": os.getcwd(),
}))
"""
IGNORE_SIGTERM = """
import pathlib, signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
pathlib.Path("ready").touch()
while True:
    signal.pause()
"""
SAVE_ON_SIGTERM = """
import pathlib, signal, sys
def save(*_):
    pathlib.Path("saved").touch()
    sys.exit(143)
signal.signal(signal.SIGTERM, save)
pathlib.Path("ready").touch()
while True:
    signal.pause()
"""
WITH_A_CHILD = """
import pathlib, subprocess, sys
subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"], start_new_session={session})
pathlib.Path("ready").touch()
{end}
"""


@pytest.fixture
def kubelet(tmp_path: Path) -> Iterator[Kubelet]:
    config_map = {"data": {"run.json": json.dumps({"directory": "/data/x"}), "notes": "/data"}}
    with locked_workdir(tmp_path / "work") as workdir:
        kubelet = Kubelet(workdir, {"faces": tmp_path / "faces"})
        kubelet.config_maps["config"] = config_map
        yield kubelet
        kubelet.clear(patience=0.0)


SHOW_ENVIRONMENT = "import json, os; open('seen', 'w').write(json.dumps(dict(os.environ)))"


def start(kubelet: Kubelet, *pods: dict[str, object]) -> list[PodProcess]:
    return kubelet.start(list(pods))


def await_end(pod: PodProcess) -> int | None:
    wait_until(lambda: pod.exit_code() is not None)
    return pod.exit_code()


def await_ready(kubelet: Kubelet, pod: PodProcess) -> None:
    wait_until((kubelet.folder(pod.name) / "ready").exists)


def test_a_pod_sees_its_files_its_address_and_its_peers(kubelet: Kubelet, tmp_path: Path) -> None:
    field = {"POD_NAME": "metadata.name", "POD_IP": "status.podIP"}
    env = [{"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}} for name, path in field.items()]
    env += [{"name": "PEER", "value": "host-b.jobs"}, {"name": "SCRATCH", "value": "/scratch"}]
    first = make_pod(
        "a",
        PRINT_WHAT_IT_SEES,
        volumes=[
            {"name": "config", "configMap": {"name": "config"}},
            {"name": "data", "persistentVolumeClaim": {"claimName": "faces"}},
            {"name": "scratch", "emptyDir": {}},
        ],
        container={
            "args": ["/etc/arcface/run.json", "/dev/termination-log"],
            "env": env,
            "terminationMessagePath": "/dev/termination-log",
            "volumeMounts": [
                {"name": "config", "mountPath": "/etc/arcface"},
                {"name": "data", "mountPath": "/data"},
                {"name": "scratch", "mountPath": "/scratch"},
            ],
        },
    )
    pods = start(kubelet, first, make_pod("b", "", hostname="host-b", subdomain="jobs"))
    assert [await_end(pod) for pod in pods] == [0, 0]
    assert json.loads(pods[0].last_words()) == {
        "address": pods[0].address,
        "peer": pods[1].address,
        "config": {"directory": str(tmp_path / "faces" / "x")},
        "scratch": True,
        "cwd": str(kubelet.folder("a")),
    }
    assert pods[0].address != pods[1].address
    assert pods[0].log == kubelet.workdir.logs / "a-0.log"
    assert pods[0].log.read_text() == "hello from a\n"


@pytest.mark.parametrize("code", [0, 1, 2, 3, 143])
def test_exit_codes_come_through(kubelet: Kubelet, code: int) -> None:
    (pod,) = start(kubelet, make_pod("a", f"import sys; sys.exit({code})"))
    assert await_end(pod) == code


def test_a_process_that_dies_of_a_signal_ends_as_in_a_container(kubelet: Kubelet) -> None:
    (pod,) = start(kubelet, make_pod("a", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"))
    assert await_end(pod) == 137


def test_a_command_that_does_not_exist_ends_with_127(kubelet: Kubelet) -> None:
    (pod,) = start(kubelet, make_pod("a", "", container={"command": ["/no/such/command"]}))
    assert await_end(pod) == 127
    assert pod.last_words() == b"/no/such/command: No such file or directory\n"


def test_a_pod_that_is_stopped_may_save(kubelet: Kubelet) -> None:
    (pod,) = start(kubelet, make_pod("a", SAVE_ON_SIGTERM))
    await_ready(kubelet, pod)
    pod.stop()
    assert await_end(pod) == 143
    assert (kubelet.folder("a") / "saved").exists()


def test_a_pod_that_does_not_stop_is_killed_after_its_grace_period(kubelet: Kubelet) -> None:
    (pod,) = start(kubelet, make_pod("a", IGNORE_SIGTERM, terminationGracePeriodSeconds=0.3))
    await_ready(kubelet, pod)
    pod.stop()
    assert await_end(pod) == 137


def test_a_pod_can_be_killed_while_it_is_given_time_to_save(kubelet: Kubelet) -> None:
    (pod,) = start(kubelet, make_pod("a", IGNORE_SIGTERM, terminationGracePeriodSeconds=600))
    await_ready(kubelet, pod)
    pod.stop()
    pod.kill()
    assert await_end(pod) == 137


def test_children_do_not_outlive_the_main_process(kubelet: Kubelet) -> None:
    (pod,) = start(kubelet, make_pod("a", WITH_A_CHILD.format(session=False, end="")))
    assert await_end(pod) == 0
    wait_until(lambda: marked(kubelet.folder("a")) == [])


def test_children_in_sessions_of_their_own_are_found_and_ended(kubelet: Kubelet) -> None:
    (pod,) = start(kubelet, make_pod("a", WITH_A_CHILD.format(session=True, end="")))
    assert await_end(pod) == 0
    assert len(marked(kubelet.folder("a"))) == 1
    assert kubelet.clear(patience=0.0) == 1
    assert marked(kubelet.workdir.pods) == []


def test_when_the_shim_is_killed_its_command_dies_with_it(kubelet: Kubelet) -> None:
    (pod,) = start(kubelet, make_pod("a", IGNORE_SIGTERM))
    await_ready(kubelet, pod)
    os.kill(pod.shim.pid, signal.SIGKILL)
    assert await_end(pod) == 137
    wait_until(lambda: marked(kubelet.folder("a")) == [])


def test_a_pod_starts_in_a_new_folder_and_keeps_its_logs(kubelet: Kubelet) -> None:
    (pod,) = start(kubelet, make_pod("a", "print('first'); open('rest', 'w')"))
    await_end(pod)
    (pod,) = start(kubelet, make_pod("a", "import os; print(os.listdir())"))
    await_end(pod)
    assert pod.log.read_text() == "first\n[]\n"


def test_clearing_waits_for_processes_that_are_about_to_end(kubelet: Kubelet) -> None:
    (pod,) = start(kubelet, make_pod("a", SAVE_ON_SIGTERM))
    await_ready(kubelet, pod)
    pod.stop()
    assert kubelet.clear(patience=600.0) == 0
    assert await_end(pod) == 143


def test_processes_of_another_workdir_are_left_alone(kubelet: Kubelet, tmp_path: Path) -> None:
    (pod,) = start(kubelet, make_pod("a", SAVE_ON_SIGTERM))
    await_ready(kubelet, pod)
    other = Kubelet(Workdir(tmp_path / "wor"), {})
    assert marked(other.workdir.pods) == []
    assert other.clear(patience=0.0) == 0
    assert pod.exit_code() is None
    pod.kill()
    assert await_end(pod) == 137


RUN_AND_WAIT = """
import sys
from pathlib import Path
from arcface_operator.local.kubelet.kubelet import Kubelet
from arcface_operator.local.kubelet.cards import PodCards
from arcface_operator.local.kubelet.directories import locked_workdir
from support.builders.pods import make_pod
with locked_workdir(Path(sys.argv[1])) as workdir:
    pods = [make_pod(name, sys.argv[2], terminationGracePeriodSeconds=float(sys.argv[3])) for name in ("a", "b")]
    Kubelet(workdir, {}).start(pods)
    sys.stdin.read()
"""


@pytest.mark.parametrize(
    ("script", "grace"),
    [pytest.param(SAVE_ON_SIGTERM, "600", id="saves"), pytest.param(IGNORE_SIGTERM, "0.3", id="has to be killed")],
)
def test_pods_end_when_their_runner_is_killed(tmp_path: Path, script: str, grace: str) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[4])}
    with subprocess.Popen(
        [sys.executable, "-c", RUN_AND_WAIT, str(tmp_path), script, grace], stdin=subprocess.PIPE, env=environment
    ) as runner:
        wait_until(lambda: all((tmp_path / "pods" / name / "ready").exists() for name in ("a", "b")))
        assert len(marked(tmp_path / "pods")) == 4
        runner.kill()
    wait_until(lambda: marked(tmp_path / "pods") == [])
    assert (tmp_path / "pods" / "a" / "saved").exists() == (script == SAVE_ON_SIGTERM)


def test_addresses_are_consecutive_and_their_ports_free() -> None:
    first, second = draw_addresses(2, {9400, 8118})
    assert first.startswith("127.")
    assert first.rpartition(".")[2] == "1"
    assert second == f"{first.removesuffix('1')}2"


def test_a_port_that_somebody_listens_on_is_not_free() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        assert not is_free("127.0.0.1", server.getsockname()[1])
        assert is_free("127.77.77.77", server.getsockname()[1])


def test_a_pod_takes_its_rank_from_the_job_and_never_from_the_shell(
    kubelet: Kubelet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shell that a script for several cards was started in before has all of these."""
    joining = ["RANK_TABLE_FILE", "RANK_ID", "RANK_SIZE", "DEVICE_ID", "MS_ROLE", "MS_SCHED_HOST", "HCCL_IF_IP"]
    kept = {"LD_LIBRARY_PATH": "/usr/local/Ascend/driver/lib64", "ASCEND_HOME_PATH": "/cann", "GLOG_v": "2"}
    for name, value in {**dict.fromkeys(joining, "7"), **kept, "ASCEND_RT_VISIBLE_DEVICES": "0,1,2"}.items():
        monkeypatch.setenv(name, value)
    kubelet.cards = PodCards(resource_name="huawei.com/Ascend910", numbers=(1, 2))
    container = {"env": [{"name": "DEVICE_ID", "value": "0"}], "resources": {"limits": {"huawei.com/Ascend910": 1}}}
    for pod in start(kubelet, *(make_pod(name, SHOW_ENVIRONMENT, container=container) for name in ("a", "b"))):
        assert await_end(pod) == 0
    seen = {name: json.loads((kubelet.folder(name) / "seen").read_text()) for name in ("a", "b")}
    assert {name: value for name, value in seen["a"].items() if name in {*joining, *kept}} == {"DEVICE_ID": "0", **kept}
    assert [seen[name]["ASCEND_RT_VISIBLE_DEVICES"] for name in ("a", "b")] == ["1", "2"]
