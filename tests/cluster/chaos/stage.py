"""Plays stories on one control plane beside each other, behind one operator and one proxy."""

import signal
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from cluster.chaos import draw
from cluster.chaos.witness import Witness
from support.fakes.api_proxy import ApiProxy
from support.processes import training_jobs as played
from support.processes.operator_process import GROUPS, USER, OperatorProcess
from support.waiting import wait_until
from testbed.control_plane.cluster import ControlPlane
from testbed.control_plane.pods import own_namespace
from testbed.fake_nodes import nodes as fakes, scripts
from testbed.programs.commands import TestbedError

SECONDS = 90.0
"""For a story to come to its end on a loaded machine."""
WEATHER_SECONDS = 1.0
CURED_BY = {"503": 503, "500": 500, "429": 429}
GONE = {"code": 410, "reason": "Expired", "message": "too old resource version"}
KINDS = ("pods", "services", "configmaps")
AT_ONCE = 16


@dataclass(slots=True)
class Ending:
    """What came of a story."""

    story: draw.Story
    happened: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return "\n  ".join(
            [str(self.story), *(f"- {line}" for line in self.happened), *(f"BROKEN {s}" for s in self.broken)]
        )


class Stage:
    """The operator of all stories, and what befalls it."""

    def __init__(self, plane: ControlPlane, nodes: fakes.FakeNodes, operator: OperatorProcess, proxy: ApiProxy) -> None:
        self.plane, self.nodes, self.operator, self.proxy = plane, nodes, operator, proxy
        self.sky = threading.Lock()
        """One weather at a time, since each heals all."""
        self.lost = threading.Lock()

    def befall(self, kind: str) -> None:
        """Weather, until it is over."""
        with self.sky:
            if kind == "operator killed":
                self.operator.kill()
                self.operator.start()
            elif kind == "operator stopped":
                self._stop_for_a_while()
            else:
                self._trouble(kind)

    def _stop_for_a_while(self) -> None:
        assert self.operator.process is not None
        self.operator.process.send_signal(signal.SIGSTOP)
        time.sleep(WEATHER_SECONDS)
        self.operator.process.send_signal(signal.SIGCONT)

    def _trouble(self, kind: str) -> None:
        if kind in CURED_BY:
            self.proxy.refuse_all(CURED_BY[kind])
        elif kind == "410":
            self.proxy.break_watches(GONE)
        else:
            self.proxy.refuse_all(502)
        time.sleep(WEATHER_SECONDS)
        self.proxy.heal()

    def lose_node_of(self, namespace: str, pod: str) -> None:
        """The node of a pod falls silent, and is back after a while."""
        with self.lost:
            name = self.nodes.pod(namespace, pod).node.name
            self.nodes.lose(name)
            time.sleep(WEATHER_SECONDS)
            self.nodes.restore(name)


@contextmanager
def set_up(plane: ControlPlane, nodes: fakes.FakeNodes, folder: Path) -> Iterator[Stage]:
    """An operator for all namespaces, behind a proxy."""
    quick = {"settleSeconds": 0.3, "checkSeconds": 0.2}
    operator = OperatorProcess(plane, folder, "--no-leader-election", settings=quick)
    with ApiProxy(plane, USER, GROUPS) as proxy:
        operator.kubeconfig = proxy.kubeconfig(folder / "kubeconfig")
        with operator:
            operator.wait_until_it_leads()
            yield Stage(plane, nodes, operator, proxy)


def play_all(stage: Stage, stories: Sequence[draw.Story], at_once: int = AT_ONCE) -> list[Ending]:
    """Play stories; each has an ending, broken or not."""
    with stage.plane.client() as api, Witness(api) as witness, ThreadPoolExecutor(at_once) as threads:
        endings = list(threads.map(lambda story: _play(stage, witness, story), stories))
    for ending in endings:
        ending.broken += witness.broken[ending.story.name]
        ending.happened += witness.histories[ending.story.name]
    return endings


def _play(stage: Stage, witness: Witness, story: draw.Story) -> Ending:
    ending, began = Ending(story), time.monotonic()
    with own_namespace(stage.plane.admin, story.name):
        jobs = played.TrainingJobs(stage.plane.admin, story.name)
        jobs.bind_claims()
        stage.nodes.play(story.name, _scripts(story))
        try:
            _Course(stage, jobs, story, ending).live()
        except (AssertionError, TestbedError, httpx.HTTPError) as error:
            ending.broken.append(f"{type(error).__name__}: {str(error)[:1500]}")
    print(f"{'BROKEN' if ending.broken else 'well'} after {time.monotonic() - began:.0f} s: {story}", flush=True)  # noqa: T201
    return ending


def _scripts(story: draw.Story) -> scripts.Chooser:
    """Every rank trains for the story's while, and ends well; so does the evaluator."""
    trains = scripts.Script(starts=0.1, progress=played.LIVE, runs=story.trains_seconds, ending=played.WELL, stops=0.1)
    return played.goes_well(
        scripts.Script(starts=0.1, runs=0.5, ending=scripts.Ending(message=played.EVALUATED)), trains
    )


@dataclass(slots=True)
class _Course:
    """A story while it is played."""

    stage: Stage
    jobs: played.TrainingJobs
    story: draw.Story
    ending: Ending
    hits: list[str] = field(default_factory=list)
    """Mishaps that met somebody."""

    def live(self) -> None:
        """From the job's creation until nothing of it is left."""
        self._create()
        for event in sorted(
            self.story.events, key=lambda each: ("Starting", "Training", "Evaluating").index(each.phase)
        ):
            self._await(event.phase)
            time.sleep(event.seconds)
            self._note(event, self._happen(event))
        if "removed" not in self.hits:
            self._judge(self._end())
            self.jobs.delete()
        wait_until(self._is_nothing_left, SECONDS)

    def _create(self) -> None:
        kind = "ascend" if self.story.is_ascend else "cpu"
        spec = {"evaluation": {"claimName": "faces", "sets": ["lfw"]}} if self.story.is_evaluated else {}
        self.jobs.create(
            workers={"accelerator": kind, "replicas": self.story.replicas, "devicesPerWorker": self.story.devices},
            training={"precision": "fp32"},
            runPolicy={"backoffLimit": self.story.back_off_limit, "cleanPodPolicy": self.story.clean_pod_policy},
            **spec,
        )

    def _await(self, phase: str) -> None:
        """Until the job has come to a phase, or past it."""
        order = ["Starting", "Training", "Evaluating", "Succeeded", "Failed"]
        past = order[order.index(phase) :]
        if "removed" not in self.hits:
            self.jobs.wait_until(lambda status: status.get("phase") in past, seconds=SECONDS)

    def _note(self, event: draw.Event, has_met: bool) -> None:
        self.ending.happened.append(f"{time.strftime('%H:%M:%S')} {event}{'' if has_met else ' (met nobody)'}")
        if has_met:
            self.hits.append(event.kind)

    def _happen(self, event: draw.Event) -> bool:
        """Whether it met somebody."""
        if event.kind in draw.WEATHER:
            self.stage.befall(event.kind)
            return True
        if "removed" in self.hits:
            return False
        if event.kind in {"suspended", "re-applied", "removed"}:
            return self._by_user(event.kind)
        try:
            self._to_pod(event)
        except (LookupError, TestbedError):
            return False
        return True

    def _by_user(self, kind: str) -> bool:
        if kind == "suspended":
            self.jobs.patch(suspend=True)
            self.jobs.wait_until(lambda s: s.get("phase") in {"Suspended", "Succeeded", "Failed"}, seconds=SECONDS)
            self.jobs.patch(suspend=False)
            return True
        self.jobs.delete()
        if kind == "re-applied":
            wait_until(lambda: not self.jobs.exists(), SECONDS)
            self.hits.clear()
            self._create()
        return True

    def _to_pod(self, event: draw.Event) -> None:
        name, space = f"quick-worker-{event.rank}", self.jobs.namespace
        if event.kind in draw.FAULTS:
            code, reason, _ = draw.FAULTS[event.kind]
            if not self.stage.nodes.pod(space, name).is_running:
                raise LookupError(name)
            self.stage.nodes.finish(space, name, scripts.Ending(exit_code=code, reason=reason, message=_report(code)))
        elif event.kind == "evicted":
            self.stage.nodes.evict(space, name)
        elif event.kind == "node lost":
            self.stage.lose_node_of(space, name)
        else:
            grace = {"gracePeriodSeconds": "0"} if event.kind == "deleted at once" else {}
            if not self.jobs.api.delete(f"/api/v1/namespaces/{space}/pods/{name}", params=grace).is_success:
                raise LookupError(name)

    def _end(self) -> dict[str, object]:
        return self.jobs.wait_until(lambda status: status.get("phase") in {"Succeeded", "Failed"}, seconds=SECONDS)

    def _judge(self, status: dict[str, object]) -> None:
        """The end that what happened allows; faults that came as the training ended may have met nobody."""
        crashes = [kind for kind in self.hits if kind in draw.FAULTS and kind not in draw.FATAL]
        may_fail = any(kind in draw.FATAL for kind in self.hits) or len(crashes) > self.story.back_off_limit
        if status["phase"] == "Failed" and not may_fail:
            self.ending.broken.append(f"failed without a reason to: {status.get('failure')}")
        counted = status.get("countedRestarts", 0)
        if isinstance(counted, int) and counted > len(crashes):
            self.ending.broken.append(f"{counted} restarts are counted, {len(crashes)} faults of the training happened")
        if status["phase"] == "Succeeded" and status["checkpoint"]["step"] != played.CHECKPOINT["step"]:  # type: ignore[index]
            self.ending.broken.append(f"succeeded with the checkpoint {status['checkpoint']}")
        if status["phase"] == "Succeeded" and self.story.is_evaluated and "evaluation" not in status:
            self.ending.broken.append("succeeded without its evaluation")

    def _is_nothing_left(self) -> bool:
        return not self.jobs.exists() and not any(self.jobs.children(kind) for kind in KINDS)


def _report(code: int) -> str:
    reason = {2: "InvalidInput", 3: "Diverged"}.get(code)
    return "" if reason is None else f'{{"failure":{{"reason":"{reason}","message":"m","rank":0,"exitCode":{code}}}}}'


def writes_at_rest(stage: Stage, since: int) -> list[str]:
    """What the operator wrote since then, but for its lease and events."""
    return [
        f"{request['verb']} {request['resource']} {request['namespace']}/{request['name']}"
        for request in stage.plane.audit(since, USER)
        if request["verb"] in {"create", "update", "patch", "delete"}
        and request["resource"] not in {"leases", "events"}
    ]
