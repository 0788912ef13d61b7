"""Prometheus metrics of jobs, read from spec and status at each scrape: they survive restarts and go with the job."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import get_args

from prometheus_client import core, registry

from arcface_api.resource.status import Phase
from arcface_operator.decision.answers.action_failure import UNREADABLE
from arcface_operator.decision.observation import parse_time
from arcface_operator.manifests.metadata import Manifest

PHASES: tuple[str, ...] = get_args(Phase)
WAITING_PHASES = ("Pending", "Queued", "Restarting")
"""Of a job that has no pods at work and may stay so for ever; Starting has its deadline."""
WORKER_STATES = ("desired", "ready", "succeeded", "failed")

Jobs = Callable[[], Iterable[Manifest]]
Sample = tuple[tuple[str, ...], float | None]
"""Values of the labels beside namespace and name, and the number; None where there is none."""


@dataclass(frozen=True)
class Family:
    """One metric of every job."""

    name: str
    text: str
    labels: tuple[str, ...]
    samples: Callable[[Manifest], Iterable[Sample]]
    kind: type[core.GaugeMetricFamily] | type[core.CounterMetricFamily] = core.GaugeMetricFamily


class JobCollector(registry.Collector):
    """Metrics of all jobs at the moment of a scrape."""

    def __init__(self, jobs: Jobs) -> None:
        self.jobs = jobs

    def collect(self) -> Iterator[core.Metric]:
        """All families."""
        jobs = list(self.jobs())
        for family in FAMILIES:
            metric = family.kind(family.name, family.text, labels=["namespace", "name", *family.labels])
            for job in jobs:
                of_job = (job["metadata"]["namespace"], job["metadata"]["name"])
                for labels, value in _samples(family, job):
                    metric.add_metric([*of_job, *labels], value)
            yield metric


def _samples(family: Family, job: Manifest) -> list[tuple[list[str], float]]:
    """What a metric says of a job; nothing where a newer release has written that part in another form.

    One job that cannot be read must not cost the figures of all others.
    """
    try:
        found = [(labels, value) for labels, value in family.samples(job) if value is not None]
        return [([str(label) for label in labels], float(value)) for labels, value in found]
    except (KeyError, TypeError, ValueError, AttributeError):
        return []


def _phases(job: Manifest) -> Iterator[Sample]:
    """1 for the phase of the job, 0 for the others: a series that ends would look like one that goes on."""
    phase = _status_of(job).get("phase")
    return (((name,), float(name == phase)) for name in PHASES)


def _workers(job: Manifest) -> Iterator[Sample]:
    """Rank pods by state."""
    counts = _status_of(job).get("workers", {})
    return (((state,), counts.get(state, 0)) for state in WORKER_STATES)


def _devices(job: Manifest) -> Iterator[Sample]:
    """Devices of the rank pods that are ready; a job that has ended keeps its counts, but pods only where it shall."""
    spec, status = job["spec"].get("workers", {}), _status_of(job)
    has_pods = "completionTime" not in status or job["spec"].get("runPolicy", {}).get("cleanPodPolicy") == "None"
    pods = status.get("workers", {}).get("ready", 0) if has_pods else 0
    yield (spec.get("accelerator", "ascend"),), pods * spec.get("devicesPerWorker", 1)


def _restarts(job: Manifest) -> Iterator[Sample]:
    """Gang restarts."""
    yield (), _status_of(job).get("restarts", 0)


def _restarts_capped(job: Manifest) -> Iterator[Sample]:
    """Whether restarts count that would not, were they fewer; absent once the job has ended."""
    if "completionTime" not in _status_of(job):
        yield (), float(_true_condition(job, "RestartsCapped") is not None)


def _waiting_start(job: Manifest) -> Iterator[Sample]:
    """Since when a job cannot have pods at work, and why; absent while nothing keeps it from that.

    A suspension is none of the wait: the condition keeps its time through it, and the job starts anew after it.
    """
    status, ready = _status_of(job), _condition(job, "Ready", "False")
    phase = status.get("phase")
    if phase in WAITING_PHASES and ready is not None:
        moments = _unix_time(ready["lastTransitionTime"]), _unix_time(status.get("startTime"))
        yield (phase, ready["reason"]), max((each for each in moments if each is not None), default=None)


def _unreadable(job: Manifest) -> Iterator[Sample]:
    """Whether the spec is of a release that this one cannot read."""
    ready = _condition(job, "Ready", "False")
    yield (), float(ready is not None and ready["reason"] == UNREADABLE)


def _queue_seconds(job: Manifest) -> Iterator[Sample]:
    """From the first look to all pods running."""
    status = _status_of(job)
    yield (), _seconds_between(status.get("startTime"), status.get("runningTime"))


def _startup_seconds(job: Manifest) -> Iterator[Sample]:
    """From the first look to rank 0's first progress: the ranks are ready for a step, whose graph is to be compiled."""
    status = _status_of(job)
    yield (), _seconds_between(status.get("startTime"), status.get("trainingTime"))


def _training_start(job: Manifest) -> Iterator[Sample]:
    """When the ranks began to train; absent while they do not."""
    if (training := _true_condition(job, "Training")) is not None:
        yield (), _unix_time(training["lastTransitionTime"])


def _checkpoint_time(job: Manifest) -> Iterator[Sample]:
    """When the newest checkpoint was saved."""
    yield (), _unix_time(_status_of(job).get("checkpoint", {}).get("savedAt"))


def _rank_table_ranks(job: Manifest) -> Iterator[Sample]:
    """Ranks of the rank table, known and wanted; absent where there is none."""
    table = _status_of(job).get("rankTable", {})
    return (((state,), table.get(state)) for state in ("ready", "total"))


def _reachable(job: Manifest) -> Iterator[Sample]:
    """Whether rank 0 answers; absent where nobody can know."""
    found = (item for item in _status_of(job).get("conditions", []) if item["type"] == "Reachable")
    known = {"True": 1.0, "False": 0.0}
    return (((), known.get(item["status"])) for item in found)


def _failures(job: Manifest) -> Iterator[Sample]:
    """The reason of a job that has failed."""
    if (failed := _true_condition(job, "Failed")) is not None:
        yield (failed["reason"],), 1.0


def _accuracies(job: Manifest) -> Iterator[Sample]:
    """Pair sets of the evaluation."""
    return (((result["dataset"],), result["accuracy"]) for result in _evaluation_of(job).get("results", []))


def _true_accept_rates(job: Manifest) -> Iterator[Sample]:
    """IJB sets of the evaluation."""
    for result in _evaluation_of(job).get("ijb", []):
        yield from (((result["dataset"], far), rate) for far, rate in result["tarAtFar"].items())


def _gates(job: Manifest) -> Iterator[Sample]:
    """Gates of the evaluation."""
    return (((gate["metric"],), float(gate["passed"])) for gate in _evaluation_of(job).get("gates", []))


def _status_of(job: Manifest) -> Manifest:
    """The job's status, empty before the operator has written one."""
    status: Manifest = job.get("status", {})
    return status


def _evaluation_of(job: Manifest) -> Manifest:
    """What its evaluator has found."""
    evaluation: Manifest = _status_of(job).get("evaluation", {})
    return evaluation


def _true_condition(job: Manifest, kind: str) -> Manifest | None:
    """A condition, if it holds."""
    return _condition(job, kind, "True")


def _condition(job: Manifest, kind: str, status: str) -> Manifest | None:
    """A condition, if that is its status."""
    found = (item for item in _status_of(job).get("conditions", []) if item["type"] == kind)
    return next((item for item in found if item["status"] == status), None)


def _unix_time(stamp: str | None) -> float | None:
    """Seconds since 1970."""
    moment = parse_time(stamp)
    return None if moment is None else moment.timestamp()


def _seconds_between(start: str | None, end: str | None) -> float | None:
    """Time from one moment to another; None where one is unknown."""
    began, ended = _unix_time(start), _unix_time(end)
    return None if began is None or ended is None else ended - began


FAMILIES = (
    Family("arcface_job_phase", "1 for the phase of the job.", ("phase",), _phases),
    Family("arcface_job_workers", "Rank pods by state.", ("state",), _workers),
    Family("arcface_job_devices", "Devices of the rank pods that are ready.", ("accelerator",), _devices),
    Family("arcface_job_restarts", "Gang restarts for any reason.", (), _restarts, core.CounterMetricFamily),
    Family(
        "arcface_job_restarts_capped",
        "1 while faults of the infrastructure count against backoffLimit, since they were too many.",
        (),
        _restarts_capped,
    ),
    Family(
        "arcface_job_waiting_start_timestamp_seconds",
        "Since when the job waits for what it needs to run, in Unix time; absent while it does not.",
        ("phase", "reason"),
        _waiting_start,
    ),
    Family("arcface_job_unreadable", "1 while this release cannot read the job.", (), _unreadable),
    Family("arcface_job_queue_seconds", "From the first look at the job to all its pods running.", (), _queue_seconds),
    Family(
        "arcface_job_startup_seconds",
        "From the first look at the job to its ranks' being ready for their first step.",
        (),
        _startup_seconds,
    ),
    Family(
        "arcface_job_training_start_timestamp_seconds",
        "When the ranks began to train, in Unix time.",
        (),
        _training_start,
    ),
    Family(
        "arcface_job_checkpoint_timestamp_seconds",
        "When the newest checkpoint was saved, in Unix time.",
        (),
        _checkpoint_time,
    ),
    Family("arcface_job_rank_table_ranks", "Ranks of the rank table.", ("state",), _rank_table_ranks),
    Family("arcface_job_reachable", "1 while rank 0 answers the operator, 0 while it does not.", (), _reachable),
    Family("arcface_job_failed", "1 with the reason of a job that has failed.", ("reason",), _failures),
    Family("arcface_job_evaluation_accuracy", "Accuracy on a pair set.", ("dataset",), _accuracies),
    Family(
        "arcface_job_evaluation_tar",
        "True accept rate on an IJB set at a false accept rate.",
        ("dataset", "far"),
        _true_accept_rates,
    ),
    Family(
        "arcface_job_gate_passed", "1 for a gate that the evaluation has passed, 0 for a miss.", ("metric",), _gates
    ),
)
