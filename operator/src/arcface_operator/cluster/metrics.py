"""Prometheus metrics of the operator; those of jobs are read from their status, so that they survive restarts."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from arcface_api.status import Phase
from arcface_operator.cluster.times import parse_time
from arcface_operator.manifests.child import Manifest

OF_A_JOB = ["namespace", "name"]
PHASES: tuple[str, ...] = get_args(Phase)
SECONDS_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class OperatorMetrics:
    """The operator's own metrics and the registry that all are served from."""

    def __init__(self, jobs: Callable[[], Iterable[Manifest]]) -> None:
        self.registry = CollectorRegistry()
        self.reconcile_seconds = Histogram(
            "arcface_operator_reconcile_seconds",
            "Time of one look at a job.",
            buckets=SECONDS_BUCKETS,
            registry=self.registry,
        )
        self.reconcile_errors = Counter(
            "arcface_operator_reconcile_errors_total", "Looks at a job that failed.", registry=self.registry
        )
        self.is_leader = Gauge(
            "arcface_operator_is_leader", "1 while this replica acts, 0 while it stands by.", registry=self.registry
        )
        self.registry.register(JobCollector(jobs))


class JobCollector(Collector):
    """Metrics of all jobs at the moment of a scrape."""

    def __init__(self, jobs: Callable[[], Iterable[Manifest]]) -> None:
        self.jobs = jobs

    def collect(self) -> Iterator[Metric]:
        """All families."""
        phase = GaugeMetricFamily("arcface_job_phase", "1 for the phase of the job.", labels=[*OF_A_JOB, "phase"])
        accuracy = GaugeMetricFamily(
            "arcface_job_evaluation_accuracy", "Accuracy on a pair set.", labels=[*OF_A_JOB, "dataset"]
        )
        rate = GaugeMetricFamily(
            "arcface_job_evaluation_tar",
            "True accept rate on an IJB set at a false accept rate.",
            labels=[*OF_A_JOB, "dataset", "far"],
        )
        restarts = CounterMetricFamily("arcface_job_restarts", "Gang restarts for any reason.", labels=OF_A_JOB)
        startup = GaugeMetricFamily(
            "arcface_job_startup_seconds", "From the first look at the job to its first step.", labels=OF_A_JOB
        )
        workers = GaugeMetricFamily("arcface_job_workers", "Rank pods by state.", labels=[*OF_A_JOB, "state"])
        for job in list(self.jobs()):
            labels, status = [job["metadata"]["namespace"], job["metadata"]["name"]], job.get("status", {})
            for name in PHASES:
                phase.add_metric([*labels, name], float(status.get("phase") == name))
            restarts.add_metric(labels, status.get("restarts", 0))
            if (seconds := startup_seconds(status)) is not None:
                startup.add_metric(labels, seconds)
            for state in ("desired", "ready", "succeeded", "failed"):
                workers.add_metric([*labels, state], status.get("workers", {}).get(state, 0))
            for result in status.get("evaluation", {}).get("results", []):
                accuracy.add_metric([*labels, result["dataset"]], result["accuracy"])
            for ijb in status.get("evaluation", {}).get("ijb", []):
                for far, tar in ijb["tarAtFar"].items():
                    rate.add_metric([*labels, ijb["dataset"], far], tar)
        yield from (phase, accuracy, rate, restarts, startup, workers)


def startup_seconds(status: dict[str, Any]) -> float | None:
    """Time from the start of the job to that of its training; None before it trains for the first time."""
    training = next((item for item in status.get("conditions", []) if item["type"] == "Training"), None)
    if training is None or training["status"] != "True" or status.get("restarts", 0) or "startTime" not in status:
        return None
    began, trains = parse_time(status["startTime"]), parse_time(training["lastTransitionTime"])
    return None if began is None or trains is None else (trains - began).total_seconds()
