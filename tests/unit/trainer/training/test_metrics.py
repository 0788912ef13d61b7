from datetime import UTC, datetime

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from arcface_api.contract.reports import TrainerReport
from arcface_api.errors import ArcFaceError
from arcface_trainer.training.meter import Meter
from arcface_trainer.training.metrics import TrainMetrics, serve

CONTRACT = {
    "arcface_train_loss",
    "arcface_train_step_seconds",
    "arcface_train_images",
    "arcface_train_images_per_second",
    "arcface_train_step",
    "arcface_train_epoch",
    "arcface_train_learning_rate",
    "arcface_train_data_wait_seconds",
    "arcface_train_checkpoint_seconds",
    "arcface_train_checkpoint_step",
    "arcface_train_loss_scale",
    "arcface_train_skipped_steps",
    "arcface_train_embedding_norm",
}


def test_every_metric_of_the_contract_is_served_with_the_rank():
    metrics = TrainMetrics(rank=3)
    port = serve("127.0.0.1", 0, metrics, None)
    text = httpx.get(f"http://127.0.0.1:{port}/metrics").text
    families = list(text_string_to_metric_families(text))
    assert {family.name for family in families} >= CONTRACT
    assert {sample.labels["rank"] for family in families for sample in family.samples} == {"3"}


def test_rank_0_serves_its_report_and_others_do_not():
    meter = Meter(steps_per_epoch=2, total_steps=10, images_per_step=4, step=7)
    report = TrainerReport(progress=meter.progress(datetime.now(UTC)))
    first = serve("127.0.0.1", 0, TrainMetrics(0), lambda: report)
    other = serve("127.0.0.1", 0, TrainMetrics(1), None)
    answer = httpx.get(f"http://127.0.0.1:{first}/progress")
    assert TrainerReport.from_json(answer.content, "answer") == report
    assert httpx.get(f"http://127.0.0.1:{other}/progress").status_code == 404


def test_a_taken_port_is_one_clear_error():
    port = serve("127.0.0.1", 0, TrainMetrics(0), None)
    with pytest.raises(ArcFaceError, match=rf"127\.0\.0\.1:{port} \(EADDRINUSE\)"):
        serve("127.0.0.1", port, TrainMetrics(1), None)
