"""A real Prometheus beside a test cluster, with the scrape configuration that the chart ships.

with Prometheus(folder, SCRAPE, RULES, kubeconfig) as prometheus:
    prometheus.query('up{job="arcface-ranks"}')
"""

from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import yaml

from testbed.programs.binaries import binary
from testbed.programs.processes import ServerProcess, free_port

SCRAPE_SECONDS = 1
RATE_INTERVAL = "10s"
"""Long enough for several scrapes."""

Series = dict[str, Any]
"""`metric` (labels) and `value` or `values`, as the HTTP API has them."""


class Prometheus:
    """Scrapes while the context is open."""

    def __init__(
        self, folder: Path, scrape: Path, rules: Path, kubeconfig: Path, exporters: dict[str, str] | None = None
    ) -> None:
        """`exporters` are further targets by the name of their job."""
        folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.config = folder / "prometheus.yml"
        self.config.write_text(yaml.safe_dump(configuration(scrape, rules, kubeconfig, exporters or {})))
        self.server = ServerProcess(
            "prometheus",
            [
                str(binary("prometheus")),
                f"--config.file={self.config}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{self.port}",
                "--query.lookback-delta=15s",
            ],
            folder / "prometheus.log",
        )
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", trust_env=False, timeout=30)

    def __enter__(self) -> Self:
        self.server.start()
        self.server.wait_for(self.is_ready)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.client.close()
        self.server.stop()

    def is_ready(self) -> bool:
        """Whether it answers queries."""
        try:
            return self.client.get("/-/ready").is_success
        except httpx.TransportError:
            return False

    def query(self, expression: str) -> list[Series]:
        """What an expression gives now."""
        return self.answer("/api/v1/query", query=expression)["result"]

    def query_range(self, expression: str, start: float, end: float, step: float) -> list[Series]:
        """What an expression gave over a time."""
        return self.answer("/api/v1/query_range", query=expression, start=start, end=end, step=step)["result"]

    def targets(self) -> list[dict[str, Any]]:
        """What is scraped, and how that goes."""
        return self.answer("/api/v1/targets", state="active")["activeTargets"]

    def rules(self) -> list[dict[str, Any]]:
        """All rules and how their evaluation goes."""
        return [rule for group in self.answer("/api/v1/rules")["groups"] for rule in group["rules"]]

    def answer(self, path: str, **parameters: Any) -> Any:
        """Data of the HTTP API; an error of a query is its text."""
        response = self.client.get(path, params=parameters).json()
        assert response["status"] == "success", response
        return response["data"]


def configuration(scrape: Path, rules: Path, kubeconfig: Path, exporters: dict[str, str]) -> dict[str, Any]:
    """prometheus.yml; the shipped file is taken as it is but for the way to the API server, which a pod has."""
    jobs = yaml.safe_load(scrape.read_text())
    for job in jobs:
        for discovery in job["kubernetes_sd_configs"]:
            discovery["kubeconfig_file"] = str(kubeconfig)
    others = [{"job_name": name, "static_configs": [{"targets": [target]}]} for name, target in exporters.items()]
    return {
        "global": {"scrape_interval": f"{SCRAPE_SECONDS}s", "evaluation_interval": f"{SCRAPE_SECONDS}s"},
        "rule_files": [str(rules)],
        "scrape_configs": [*jobs, *others],
    }
