"""What the loop tells of itself, without training."""

from types import SimpleNamespace

from arcface_trainer.training.loop import TrainingLoop
from support.builders.training_plan import make_plan


def make_loop(rank: int) -> TrainingLoop:
    plan = make_plan(class_count=85_742, total_batch_size=1024)
    return TrainingLoop(
        plan=plan,
        rank=rank,
        loader=SimpleNamespace(skipped={4, 7}),
        checkpointing=SimpleNamespace(newest=None, resumed=None),
        **dict.fromkeys(("train_step", "verifier", "is_stop_wanted")),
    )


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
