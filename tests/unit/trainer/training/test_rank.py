"""What a rank refuses before it meets the others, and what its loop tells of itself."""

from types import SimpleNamespace

import pytest

from arcface_api.contract.pod_environment import RankIdentity
from arcface_api.contract.run_config import RunConfig
from arcface_api.errors import InvalidInput
from arcface_trainer.metrics import TrainMetrics
from arcface_trainer.training.rank import TrainingLoop, _ProgressBoard, build_training_loop
from support.builders.training_plan import make_plan
from support.processes.trainings import write_image_folder, write_run_config


def test_more_ranks_than_identities_are_refused_before_the_ranks_meet(tmp_path):
    images = write_image_folder(tmp_path / "images", identities=4, each=6)
    ranks = {"worldSize": 5, "perPod": 5, "accelerator": "cpu", "rendezvous": "dynamic"}
    path = write_run_config(tmp_path / "run.json", images, tmp_path / "checkpoints", ranks=ranks)
    config = RunConfig.from_json(path.read_bytes(), str(path))
    with pytest.raises(InvalidInput, match="5 ranks share 4 identities and each needs one"):
        build_training_loop(config, RankIdentity.from_environment({"MS_WORKER_NUM": "5"}), 0)


def make_loop(rank: int) -> TrainingLoop:
    plan = make_plan(class_count=85_742, total_batch_size=1024)
    return TrainingLoop(
        plan=plan,
        rank=rank,
        loader=SimpleNamespace(skipped={4, 7}),
        checkpointing=SimpleNamespace(newest=None, resumed=None, warnings=[]),
        metrics=TrainMetrics(rank),
        **dict.fromkeys(("train_step", "verifier", "is_stop_wanted")),
    )


def test_rank_0_says_who_it_is_before_there_is_a_loop_and_with_its_progress_afterwards():
    board = _ProgressBoard(RankIdentity(job_uid="a", attempt=2))
    assert (board.shown().job_uid, board.shown().attempt, board.shown().progress) == ("a", 2, None)
    loop = make_loop(rank=0)
    loop.loss_check.check_first_loss(11.4)
    board.report = loop.report
    assert (board.shown().job_uid, board.shown().progress.step) == ("a", 0)


def test_an_odd_first_loss_is_in_the_report():
    loop = make_loop(rank=0)
    loop.loss_check.check_first_loss(46.0)
    assert loop.report().warnings == []
    loop.loss_check.check_first_loss(11.4)
    (warning,) = loop.report().warnings
    assert "margin is not applied" in warning


def test_every_rank_tells_how_many_images_it_skipped_and_rank_0_the_rest():
    first, other = make_loop(rank=0), make_loop(rank=1)
    for loop in (first, other):
        loop.loss_check.check_first_loss(11.4)
    assert first.report().skipped_images == 2
    told = other.report()
    assert (told.skipped_images, told.progress, told.warnings) == (2, None, [])
