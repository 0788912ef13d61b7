"""A story while it is played: its job, what befalls it, and whether its end is one that what happened allows."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import httpx

from cluster.chaos import draw, openings
from cluster.chaos.account import TABLE, Account
from cluster.chaos.mishaps import PodMishaps
from cluster.chaos.stage import Stage
from cluster.chaos.verdict import Evidence, objections
from cluster.chaos.witness import Witness
from support.processes import training_jobs as played
from support.waiting import wait_until
from testbed.control_plane.api_answers import found
from testbed.control_plane.pods import own_namespace
from testbed.programs.commands import TestbedError
from testbed.schedulers.kueue_objects import Workloads

KINDS = ("pods", "services", "configmaps")
AT_ONCE = 16
QUEUE, URGENT_NAME = "faces", "others"
REST_SECONDS = 1.0
"""In which nobody writes what belongs to a job at rest."""
SUSPENSION = draw.Event("Training", 0.1, "suspended")


@dataclass(slots=True)
class Outcome:
    """What came of a story."""

    story: draw.Story
    happened: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    rungs: list[str] = field(default_factory=list)
    """Of its recoveries."""

    def __str__(self) -> str:
        lines = [f"- {line}" for line in sorted(self.happened)]
        return "\n  ".join([str(self.story), *lines, *(f"BROKEN {sentence}" for sentence in self.broken)])


def play_all(stage: Stage, stories: Sequence[draw.Story], at_once: int = AT_ONCE) -> list[Outcome]:
    """Play stories, some beside each other."""
    with Witness(stage.api) as witness, ThreadPoolExecutor(at_once) as threads:
        playing = [threads.submit(play, stage, witness, story) for story in stories]
        stage.run_errands(lambda: all(each.done() for each in playing))
        return [each.result() for each in playing]


def play(stage: Stage, witness: Witness, story: draw.Story) -> Outcome:
    """Play one story; it has an outcome, broken or not."""
    outcome, began, account = Outcome(story), time.monotonic(), witness.account_of(story.name)
    with own_namespace(stage.api, story.name):
        try:
            jobs = played.TrainingJobs(stage.api, story.name)
            jobs.bind_claims(stage.seconds)
            Course(stage, jobs, account, outcome).live()
        except (AssertionError, TestbedError, httpx.HTTPError) as error:
            outcome.broken.append(f"{type(error).__name__}: {str(error)[:1500]}")
    outcome.broken += account.judge()
    outcome.happened += account.history
    said = "BROKEN" if outcome.broken else "well"
    print(f"{said} after {time.monotonic() - began:.0f} s: {outcome if outcome.broken else story}", flush=True)  # noqa: T201
    return outcome


@dataclass(slots=True)
class Course:
    """A story and its job."""

    stage: Stage
    jobs: played.TrainingJobs
    account: Account
    outcome: Outcome
    hits: list[str] = field(default_factory=list)
    """Mishaps that met the present job."""
    job: str = ""
    """Its uid."""
    losses: int = 0
    """Nodes that had been lost when it was made."""
    past: list[str] = field(default_factory=list)
    """What was to befall it and its predecessors, whether it met somebody or not."""
    mishaps: PodMishaps = field(init=False)
    workloads: Workloads = field(init=False)

    def __post_init__(self) -> None:
        self.mishaps = PodMishaps(self.stage, self.jobs)
        self.workloads = Workloads(self.jobs.api, self.jobs.namespace)

    @property
    def story(self) -> draw.Story:
        """What is played."""
        return self.outcome.story

    def live(self) -> None:
        """From the job's creation until nothing of it is left."""
        if self.story.min_replicas is not None:
            self.mishaps.give_room(openings.room_label(self.story), self.story.replicas, self.story.seed)
        if self.story.is_queued:
            self.workloads.add_queue(QUEUE, self.story.name)
        self._create()
        try:
            for event in self.story.events:
                self._await(event.phase)
                time.sleep(event.seconds)
                self.past.append(event.kind)
                self._note(event, has_met=self._happen(event))
            if "removed" not in self.hits:
                status = self._end()
                self._rest()  # by then the witness has seen what had happened
                self._judge(status)
                self.jobs.delete()
        finally:
            self.mishaps.mend()
        wait_until(self._is_nothing_left, self.stage.rest_seconds)

    def _create(self) -> None:
        scheduling = {"scheduling": {"gang": "kueue", "queue": QUEUE}} if self.story.is_queued else {}
        spec = {"evaluation": {"claimName": "faces", "sets": ["lfw"]}} if self.story.is_evaluated else {}
        self.losses = self.stage.losses
        loses_room = self.story.min_replicas is not None and draw.ROOM_LOST not in self.past
        self.stage.nodes.play(self.story.name, openings.scripts(self.story, loses_room=loses_room))
        self.jobs.create(
            workers={
                "accelerator": "ascend" if self.story.is_ascend else "cpu",
                "replicas": self.story.replicas,
                "devicesPerWorker": self.story.devices,
                **({} if self.story.min_replicas is None else {"minReplicas": self.story.min_replicas}),
                **openings.template(self.story),
            },
            training={"precision": "fp32"},
            runPolicy=openings.run_policy(self.story),
            **spec,
            **scheduling,
        )
        self.job = self.jobs.read()["metadata"]["uid"]

    def _await(self, phase: str) -> None:
        """Until the job has come to a phase, or past it."""
        past = [*draw.PHASES[draw.PHASES.index(phase) :], "Succeeded", "Failed"]
        if "removed" not in self.hits:
            self.jobs.wait_until(lambda status: status.get("phase") in past, seconds=self.stage.seconds)

    def _note(self, event: draw.Event, *, has_met: bool) -> None:
        self.outcome.happened.append(f"{time.strftime('%H:%M:%S')} {event}{'' if has_met else ' (met nobody)'}")
        if has_met and not event.is_weather:
            self.hits.append(event.kind)

    def _happen(self, event: draw.Event) -> bool:
        """Whether it met somebody."""
        if event.is_weather:
            self.stage.befall(event.kind)
            return True
        if "removed" in self.hits:
            return False
        try:
            if event.kind in draw.BY_USERS:
                self._by_user(event.kind)
            elif event.kind == draw.ROOM_LOST:
                return self._lose_room(_worker(event.rank))
            elif event.kind == draw.WITHDRAWN:
                self._withdraw_quota()
            else:
                self.mishaps.befall(
                    event.kind, "quick-evaluate" if event.phase == "Evaluating" else _worker(event.rank)
                )
        except (LookupError, TestbedError):
            return False
        return True

    def _lose_room(self, name: str) -> bool:
        """Until the gang has gone on without a pod and is whole again, or has ended; whether it had that pod."""
        running = self.stage.nodes.is_running
        if not self._comes_to(lambda status: status["phase"] == "Training" and running(self.jobs.namespace, name)):
            return False
        attempt = self.jobs.status()["attempt"]
        give_back = self.mishaps.lose_room(name)
        if self._comes_to(lambda status: status["phase"] == "Training" and _size(status, attempt) is not None):
            give_back()
            try:
                self._comes_to(lambda status: _size(status, attempt) == self.story.replicas)
            except AssertionError:
                raise AssertionError("there is room for all, and the gang stays small") from None
        return True

    def _withdraw_quota(self) -> None:
        """Until nothing of the job is there; then the quota is free again."""
        self.workloads.add_urgent(URGENT_NAME, QUEUE, self.story.replicas * self.story.devices)
        wait_until(lambda: self.workloads.holds(URGENT_NAME, "Admitted"), self.stage.seconds)
        self._comes_to(lambda status: status["phase"] in {"Queued", "Pending"} and not self._holds_cards())
        self.workloads.delete(URGENT_NAME)

    def _holds_cards(self) -> bool:
        return any(pod["status"].get("phase") not in draw.ENDED for pod in self.jobs.children("pods"))

    def _comes_to(self, condition: Callable[[dict[str, Any]], bool]) -> bool:
        """Wait until a condition holds; False where the job has ended before."""
        ends = self.jobs.wait_until(
            lambda status: status.get("phase") in draw.ENDED or ("phase" in status and condition(status)),
            seconds=self.stage.seconds,
        )
        return ends["phase"] not in draw.ENDED

    def _by_user(self, kind: str) -> None:
        if kind == "suspended":
            self.jobs.patch(suspend=True)
            self.jobs.wait_until(_is_over_or("Suspended"), seconds=self.stage.seconds)
            self.jobs.patch(suspend=False)
        elif kind == "objects deleted":
            for name in (TABLE, "quick-config"):
                found(self.jobs.api.delete(f"/api/v1/namespaces/{self.jobs.namespace}/configmaps/{name}"))
        else:
            self.jobs.delete()
        if kind == "re-applied":
            wait_until(lambda: not self.jobs.exists(), self.stage.seconds)
            self.hits.clear()
            self._create()

    def _end(self) -> dict[str, Any]:
        return self.jobs.wait_until(_is_over_or("Failed"), seconds=self.stage.seconds)

    def _rest(self) -> None:
        """What still runs is removed as the job wishes, and then nobody writes anything."""
        policy = self.story.clean_pod_policy

        def is_clean() -> bool:
            phases = [pod["status"].get("phase") for pod in self.jobs.children("pods")]
            return policy == "None" or not phases or (policy == "Running" and not {*phases} - {"Succeeded", "Failed"})

        wait_until(is_clean, self.stage.seconds)
        deadline, written = time.monotonic() + self.stage.rest_seconds, ["?"]
        while written and time.monotonic() < deadline:
            since = self.stage.plane.audit_log.size()
            time.sleep(REST_SECONDS)
            written = self.stage.writes(since, self.jobs.namespace)
        if written:
            self.outcome.broken.append(f"at rest was written: {written[:3]}")

    def _is_nothing_left(self) -> bool:
        is_queued = self.story.is_queued and bool(self.workloads.all())
        return not self.jobs.exists() and not is_queued and not any(self.jobs.children(kind) for kind in KINDS)

    def _judge(self, status: dict[str, Any]) -> None:
        """The end that what happened allows; faults that came as a stage ended may have met nobody."""
        deaths = self.stage.nodes.rank_deaths(self.job)
        self.outcome.rungs += [each["rung"] for each in status.get("recoveries", [])]
        faults = self.account.faults(self.job, deaths)
        is_alone = self.losses == self.stage.losses
        told = (each for _, each in self.account.statuses[self.job] if "elastic" in each)
        sizes = {each["elastic"]["pods"] for each in told}
        seen = {"faults": faults, "deaths": deaths, "sizes": sizes, "is_alone": is_alone}
        evidence = Evidence(story=self.story, hits=self.hits, **seen)
        self.outcome.broken += objections(evidence, status)


def _worker(rank: int) -> str:
    return f"quick-worker-{rank}"


def _size(status: dict[str, Any], after: int) -> int | None:
    """Pods of a gang whose size was changed after an attempt."""
    size: dict[str, int] = status.get("elastic", {})
    return size["pods"] if size.get("attempt", 0) > after else None


def _is_over_or(phase: str) -> Callable[[dict[str, Any]], bool]:
    return lambda status: status.get("phase") in {phase, "Succeeded", "Failed"}
