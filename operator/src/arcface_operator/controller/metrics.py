"""Prometheus metrics of the operator itself, and the registry that all of its metrics are served from."""

from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from arcface_operator.controller.job_metrics import JobCollector
from arcface_operator.manifests.metadata import Manifest

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
