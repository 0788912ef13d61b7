"""The meter's figures, and what Prometheus and the operator read of them."""

from datetime import UTC, datetime, timedelta

import httpx
import pytest
from hypothesis import given, settings, strategies as st
from prometheus_client.parser import text_string_to_metric_families

from arcface_api.contract.reports import TrainerReport
from arcface_api.errors import ArcFaceError
from arcface_trainer.metrics import Meter, StepRecord, TrainMetrics, serve
from support.slow_clients import assert_slow_ones_hold_nothing

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_progress_tells_means_of_the_recent_steps():
    meter = Meter(steps_per_epoch=10, total_steps=100, images_per_step=64, step=18)
    meter.add(StepRecord(loss=3.0, seconds=0.5, waits=(0.0, 0.1)))
    meter.add(StepRecord(loss=1.0, seconds=1.5, waits=(0.1, 0.1)))
    progress = meter.progress(NOW)
    assert (progress.epoch, progress.step, progress.loss) == (2, 20, 2.0)
    assert progress.epochs == "2/10"
    assert progress.images_per_second == pytest.approx(64)
    assert progress.step_milliseconds == pytest.approx(1000)
    assert progress.data_wait_percent == pytest.approx(10)
    assert progress.estimated_completion_time == NOW + timedelta(seconds=80 * 1.5)


def test_the_first_step_which_compiles_promises_no_end():
    """One that took 25 s promised 426 s for the other 17 of a small training."""
    meter = Meter(steps_per_epoch=10, total_steps=100, images_per_step=64)
    meter.add(StepRecord(loss=1.0, seconds=25.0, waits=(0.0,)))
    assert meter.progress(NOW).estimated_completion_time is None
    assert meter.log_line(NOW).endswith("eta=unknown")
    for left in (98, 97):
        meter.add(StepRecord(loss=1.0, seconds=0.5, waits=(0.0,)))
        assert meter.progress(NOW).estimated_completion_time == NOW + timedelta(seconds=left * 0.5)
    assert meter.log_line(NOW).endswith("eta=0:00:48")


def test_the_end_that_is_promised_goes_by_the_steps_of_the_window():
    meter = Meter(steps_per_epoch=100, total_steps=100, images_per_step=64)
    for seconds in (9.0,) * 30 + (1.0,) * 20:
        meter.add(StepRecord(loss=1.0, seconds=seconds, waits=(0.0,)))
    assert meter.progress(NOW).estimated_completion_time == NOW + timedelta(seconds=50)


ANY = st.floats(width=32, allow_nan=True, allow_infinity=True)
SECONDS = st.floats(min_value=0.0)


@settings(deadline=None, max_examples=200)
@given(st.lists(st.tuples(ANY, SECONDS, st.tuples(ANY, ANY), ANY.filter(lambda scale: not scale <= 0)), max_size=4))
def test_progress_and_log_line_come_whatever_the_numbers(records):
    meter = Meter(steps_per_epoch=10, total_steps=10**9, images_per_step=64)
    for loss, seconds, waits, scale in records:
        meter.add(StepRecord(loss, seconds, waits, scale))
    told = TrainerReport(progress=meter.progress(NOW)).to_json()
    assert TrainerReport.from_json(told, "own").progress.step == len(records)
    assert f"step={len(records)}/" in meter.log_line(NOW)


def test_a_loss_that_is_no_number_leaves_the_others_in_the_mean_and_is_seen_in_the_log_where_it_is_all():
    meter = Meter(steps_per_epoch=10, total_steps=100, images_per_step=64)
    meter.add(StepRecord(loss=float("nan"), seconds=1.0, waits=(0.0,)))
    assert meter.progress(NOW).loss is None
    assert "loss=nan" in meter.log_line(NOW)
    meter.add(StepRecord(loss=3.0, seconds=1.0, waits=(0.0,)))
    assert meter.progress(NOW).loss == 3.0


def test_steps_may_be_counted_while_another_thread_reads():
    meter = Meter(steps_per_epoch=10, total_steps=100, images_per_step=64)

    class Record(StepRecord):
        """Counts a step in the very moment it is read."""

        @property
        def loss(self):
            meter.add(StepRecord(loss=1.0, seconds=1.0, waits=(0.0,)))
            return 3.0

    meter.recent = type(meter.recent)([object.__new__(Record), object.__new__(Record)])
    assert meter.loss == 3.0
    assert meter.step == 2


def test_means_are_over_the_last_twenty_steps():
    meter = Meter(steps_per_epoch=10, total_steps=100, images_per_step=64)
    for number in range(50):
        meter.add(StepRecord(loss=float(number), seconds=1.0, waits=(0.0,)))
    assert meter.loss == sum(range(30, 50)) / 20


def test_nothing_is_claimed_before_the_first_step():
    progress = Meter(10, 100, 64).progress(NOW)
    assert progress.loss is None
    assert progress.images_per_second is None
    assert progress.data_wait_percent is None
    assert progress.estimated_completion_time is None


@pytest.mark.parametrize(
    ("waits", "rank"),
    [
        ((0.0, 0.0, 0.5, 0.0), 2),
        ((0.3, 0.3, 0.31, 0.3), None),
        ((0.5, 0.5, 0.0, 0.0), 0),
        ((0.04, 0.0), None),
        ((0.4,), None),
    ],
    ids=["one waits", "all wait", "half of them wait", "hardly worth a word", "there is but one"],
)
def test_a_rank_is_named_that_the_others_wait_for(waits, rank):
    meter = Meter(steps_per_epoch=10, total_steps=100, images_per_step=64)
    meter.add(StepRecord(loss=1.0, seconds=1.0, waits=waits))
    assert meter.progress(NOW).slowest_rank == rank


@pytest.mark.parametrize(
    ("pair_seconds", "waits", "rank"),
    [
        ((0.010, 0.010, 0.013), (0.0, 0.0, 0.0), 2),
        ((0.010, 0.010, 0.011), (0.0, 0.0, 0.0), None),
        ((0.010, 0.010, 0.0), (0.0, 0.0, 0.0), None),
        ((0.010, 0.010, 0.013), (0.5, 0.0, 0.0), 0),
        ((0.010,), (0.0,), None),
    ],
    ids=["slower device", "hardly slower", "a rank without pairs", "waits for images count first", "there is but one"],
)
def test_a_rank_is_named_whose_device_is_slower(pair_seconds, waits, rank):
    meter = Meter(steps_per_epoch=10, total_steps=100, images_per_step=64, pair_seconds=pair_seconds)
    meter.add(StepRecord(loss=1.0, seconds=1.0, waits=waits))
    assert meter.progress(NOW).slowest_rank == rank


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
    of_ranks = [family for family in families if family.name != "arcface_build_info"]
    assert {sample.labels["rank"] for family in of_ranks for sample in family.samples} == {"3"}


def test_waiting_is_told_before_the_first_step_and_a_step_is_not():
    """By the one the alert ArcFaceRanksNotScraped knows that a rank is scraped, while its graph compiles."""
    port = serve("127.0.0.1", 0, TrainMetrics(rank=0), None)
    lines = httpx.get(f"http://127.0.0.1:{port}/metrics").text.splitlines()
    assert 'arcface_train_data_wait_seconds_total{rank="0"} 0.0' in lines
    assert not [line for line in lines if line.startswith("arcface_train_step{")]


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
    with pytest.raises(
        ArcFaceError, match=rf"127\.0\.0\.1:{port}: metrics cannot be served \(Address already in use\)"
    ):
        serve("127.0.0.1", port, TrainMetrics(1), None)


def test_a_name_server_that_is_silent_holds_nothing_up(monkeypatch):
    monkeypatch.setattr("socket.getfqdn", lambda _name="": pytest.fail("a name is looked up"))
    port = serve("127.0.0.1", 0, TrainMetrics(0), None)
    assert httpx.get(f"http://127.0.0.1:{port}/metrics").status_code == 200


def test_a_client_that_sends_nothing_holds_no_thread(monkeypatch):
    assert_slow_ones_hold_nothing(monkeypatch, "127.0.0.1", serve("127.0.0.1", 0, TrainMetrics(0), None))
