"""What the rest of the tests takes for granted about the node: it is a real one."""

import json
import logging
import time
from pathlib import Path

import httpx
import pytest

from testbed.control_plane.pods import MERGE, Pods, shell_pod
from testbed.real_node.node import RealNode

pytestmark = pytest.mark.real_node
LOG = logging.getLogger(__name__)
TRIES = 20


def test_a_pod_runs_and_its_log_is_read(pods: Pods) -> None:
    name = pods.create(shell_pod("hello", "echo hello from $(hostname)"))
    pods.wait_for(name, "Succeeded")
    assert pods.log(name) == "hello from hello\n"


def test_exit_code_and_termination_message_reach_the_status(pods: Pods) -> None:
    name = pods.create(shell_pod("fails", "echo '{\"step\": 7}' > /dev/termination-log; exit 3"))
    pods.wait_for(name, "Failed")
    ending = pods.ending(name)
    assert (ending["exitCode"], ending["message"]) == (3, '{"step": 7}\n')


def test_a_silent_death_is_explained_by_the_last_lines_of_the_log(pods: Pods) -> None:
    container = {"terminationMessagePolicy": "FallbackToLogsOnError"}
    name = pods.create(shell_pod("dies", "echo out of luck; exit 9", container=container))
    pods.wait_for(name, "Failed")
    ending = pods.ending(name)
    assert (ending["exitCode"], ending["message"]) == (9, "out of luck\n")


def test_a_container_beyond_its_memory_is_oom_killed(pods: Pods) -> None:
    container = {"resources": {"limits": {"memory": "20Mi"}}}
    name = pods.create(shell_pod("greedy", "exec tail /dev/zero", container=container))
    pods.wait_for(name, "Failed")
    ending = pods.ending(name)
    assert (ending["exitCode"], ending["reason"]) == (137, "OOMKilled")


def test_deleting_a_pod_sends_sigterm_and_leaves_time(pods: Pods, tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    script = "trap 'echo stopped > /out/said; exit 143' TERM; echo ready; while :; do usleep 10000; done"
    volume = {"name": "out", "hostPath": {"path": str(tmp_path)}}
    container = {"volumeMounts": [{"name": "out", "mountPath": "/out"}]}
    name = pods.create(shell_pod("polite", script, volumes=[volume], container=container))
    pods.wait_for(name, "Running")
    with pods.log_lines(name) as lines:
        assert next(lines) == "ready"
    pods.delete(name, grace_seconds=20)
    assert (tmp_path / "said").read_text() == "stopped\n"


def test_pods_and_this_machine_reach_each_other_by_address(pods: Pods) -> None:
    server = pods.create(shell_pod("server", "echo -n hello > /tmp/index.html; httpd -f -p 8080 -h /tmp"))
    address = pods.wait_for(server, "Running")["status"]["podIP"]
    client = pods.create(shell_pod("client", f"until wget -q -O - http://{address}:8080/; do usleep 100000; done"))
    pods.wait_for(client, "Succeeded")
    assert pods.log(client).endswith("hello")
    assert httpx.get(f"http://{address}:8080/", trust_env=False).text == "hello"


def test_claim_is_given_to_the_pods_group(node: RealNode, pods: Pods, tmp_path: Path) -> None:
    node.claim(pods.namespace, "checkpoints", tmp_path, volume="local")
    volume = {"name": "checkpoints", "persistentVolumeClaim": {"claimName": "checkpoints"}}
    container = {"volumeMounts": [{"name": "checkpoints", "mountPath": "/checkpoints"}]}
    security = {"runAsNonRoot": True, "runAsUser": 1000, "runAsGroup": 1000, "fsGroup": 1000}
    script = "echo saved > /checkpoints/step-1"
    name = pods.create(shell_pod("writes", script, volumes=[volume], container=container, securityContext=security))
    pods.wait_for(name, "Succeeded")
    saved = tmp_path / "step-1"
    assert (saved.read_text(), saved.stat().st_uid, saved.stat().st_gid) == ("saved\n", 1000, 1000)


def test_touching_a_pod_shows_it_a_changed_config_map_at_once(pods: Pods) -> None:
    """Without the touch it takes the kubelet a minute; the operator's rank table depends on this."""
    maps = f"/api/v1/namespaces/{pods.namespace}/configmaps"
    pods.api.post(maps, json={"metadata": {"name": "table"}, "data": {"value": "start"}}).raise_for_status()
    script = 'while :; do now=$(cat /table/value); [ $now = "$last" ] || echo $now; last=$now; usleep 10000; done'
    volume = {"name": "table", "configMap": {"name": "table"}}
    container = {"volumeMounts": [{"name": "table", "mountPath": "/table"}]}
    name = pods.create(shell_pod("reader", script, volumes=[volume], container=container))
    pods.wait_for(name, "Running")
    seconds = []
    with pods.log_lines(name) as lines:
        assert next(lines) == "start"
        for number in range(TRIES):
            started = time.monotonic()
            patch = json.dumps({"data": {"value": str(number)}})
            pods.api.patch(f"{maps}/table", content=patch, headers=MERGE).raise_for_status()
            pods.annotate(name, touched=str(number))
            assert next(lines) == str(number)
            seconds.append(time.monotonic() - started)
    seconds.sort()
    LOG.info("changed config map seen after %.2f s at the median, %.2f s at most", seconds[TRIES // 2], seconds[-1])
    assert seconds[-1] < 2
