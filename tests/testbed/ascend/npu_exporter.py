"""Serves what Ascend's npu-exporter serves, by the names in its documentation."""

import threading
from collections.abc import Sequence
from types import TracebackType
from typing import Self
from wsgiref.simple_server import make_server

from prometheus_client import CollectorRegistry, Gauge, make_wsgi_app

from testbed.programs.processes import free_port

LABELS = ["id", "model_name", "namespace", "pod_name", "container_name"]
FIGURES = {
    "npu_chip_info_utilization": ("the ai core utilization", 93.0),
    "npu_chip_info_hbm_used_memory": ("the npu hbm used memory", 24_576.0),
    "npu_chip_info_hbm_total_memory": ("the npu hbm total memory", 32_768.0),
}
"""Percent and MB."""


class NpuExporter:
    """The exporter of one node whose cards the given pods hold."""

    def __init__(self, namespace: str, pods: Sequence[str], cards: int) -> None:
        registry = CollectorRegistry()
        for name, (text, value) in FIGURES.items():
            gauge = Gauge(name, text, LABELS, registry=registry)
            for number, pod in enumerate(pods):
                for card in range(cards):
                    gauge.labels(str(number * cards + card), "910A", namespace, pod, "trainer").set(value)
        self.target = f"127.0.0.1:{free_port()}"
        host, _, port = self.target.partition(":")
        self.server = make_server(host, int(port), make_wsgi_app(registry))
        self.server.RequestHandlerClass.log_message = lambda *_: None

    def __enter__(self) -> Self:
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.server.shutdown()
        self.server.server_close()
