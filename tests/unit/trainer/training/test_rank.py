"""What a rank refuses before it meets the others, and what it shows until then."""

from types import SimpleNamespace

import numpy as np
import pytest

from arcface_api.contract.pod_environment import RankIdentity
from arcface_api.contract.reports import TrainerReport
from arcface_api.contract.run_config import RunConfig
from arcface_api.errors import InvalidInput
from arcface_api.resource.spec import LossSpec, ModelSpec
from arcface_trainer.distributed.collectives import World
from arcface_trainer.heartbeat import Phase
from arcface_trainer.training import rank
from arcface_trainer.training.rank import _check_same_data, _is_compared, _ProgressBoard, build_training_loop
from support.builders.training_plan import make_plan
from support.processes.trainings import write_image_folder, write_run_config


def test_more_ranks_than_identities_are_refused_before_the_ranks_meet(tmp_path):
    images = write_image_folder(tmp_path / "images", identities=4, each=6)
    ranks = {"worldSize": 5, "perPod": 5, "accelerator": "cpu", "rendezvous": "dynamic"}
    path = write_run_config(tmp_path / "run.json", images, tmp_path / "checkpoints", ranks=ranks)
    config = RunConfig.from_json(path.read_bytes(), str(path))
    with pytest.raises(InvalidInput, match="5 ranks share 4 identities and each needs one"):
        build_training_loop(config, RankIdentity.from_environment({"MS_WORKER_NUM": "5"}), 0)


def test_a_single_identity_is_refused_by_name(tmp_path):
    images = write_image_folder(tmp_path / "images", identities=1, each=6)
    path = write_run_config(tmp_path / "run.json", images, tmp_path / "checkpoints")
    config = RunConfig.from_json(path.read_bytes(), str(path))
    with pytest.raises(InvalidInput, match="1 identity with at least 1 images, a classifier needs 2: lower"):
        build_training_loop(config, RankIdentity.from_environment({"MS_WORKER_NUM": "2"}), 0)


def test_rank_0_says_who_it_is_before_there_is_a_loop_and_with_its_report_afterwards():
    board = _ProgressBoard(RankIdentity(job_uid="a", attempt=2))
    assert (board.shown().job_uid, board.shown().attempt, board.shown().skipped_images) == ("a", 2, 0)
    board.report = lambda: TrainerReport(skipped_images=7)
    assert (board.shown().job_uid, board.shown().skipped_images) == ("a", 7)


def test_where_a_start_went_is_told_once_when_the_first_step_is_over(caplog, monkeypatch):
    clock = iter([0.5, 2.75, 4.0])
    monkeypatch.setattr(rank, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    told = []
    account = rank.StartAccount(0.0)
    enter = account.told_before(lambda *phase: told.append(phase))
    account.end("images")
    enter(Phase.START, 7)
    account.end("join")
    with caplog.at_level("INFO"):
        enter(Phase.START, 7)
        assert not caplog.messages
        enter(Phase.STEP, 8)
        enter(Phase.START, 9)  # as where a backbone thaws
        enter(Phase.STEP, 10)
    assert caplog.messages == ["started step=8 seconds: images=0.50 join=2.25 first_step=1.25"]
    assert told == [(Phase.START, 7), (Phase.START, 7), (Phase.STEP, 8), (Phase.START, 9), (Phase.STEP, 10)]


class WorldOf:
    """Ranks with these plans."""

    def __init__(self, *plans):
        self.plans = plans

    def all_gather(self, own):
        rows = []
        for plan in self.plans:
            words = np.frombuffer(bytes.fromhex(plan.content_fingerprint), "<i4")
            rows.append([plan.image_count, plan.class_count, *words.tolist()])
        assert own.dtype == np.int32
        assert own.tolist() in rows
        return np.array(rows, np.int32)


SAME, OTHER = make_plan(), make_plan(content_fingerprint="d" * 63 + "e")


def test_ranks_with_the_same_images_go_on():
    _check_same_data(SAME, WorldOf(SAME, SAME, SAME), "/data")


@pytest.mark.parametrize("own", [SAME, OTHER])
def test_every_rank_names_the_first_that_has_other_images(own):
    with pytest.raises(InvalidInput, match=r"^/data: rank 0 has 50 images of 10 identities .* and rank 2 has 50 "):
        _check_same_data(own, WorldOf(SAME, SAME, OTHER, OTHER), "/data")


@pytest.mark.parametrize(
    ("facts", "is_compared"),
    [
        ({}, True),
        ({"precision": "fp16"}, False),
        ({"micro_batches": 2}, False),
        ({"loss": LossSpec(sample_rate=0.5)}, False),
        ({"model": ModelSpec(init_from={"claimName": "c", "path": "p"}, freeze_epochs=1)}, False),
    ],
    ids=["plain", "half precision", "micro-batches", "a share of the classes", "a frozen backbone"],
)
def test_only_a_step_that_was_compared_is_taken_from_the_ranks_before(facts, is_compared):
    assert _is_compared(make_plan(**facts), World(2, 0)) is is_compared


def test_cards_compile_each_time():
    assert not _is_compared(make_plan(), World(2, 0, chip="ascend910b"))
