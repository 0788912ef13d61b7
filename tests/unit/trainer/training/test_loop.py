"""What the loop tells of itself, without training."""

from types import SimpleNamespace

from arcface_api.resource.spec import LossSpec
from arcface_trainer.training.loop import TrainingLoop
from arcface_trainer.training.meter import Meter
from arcface_trainer.training.rank import report_of


def make_loop() -> TrainingLoop:
    parts = dict.fromkeys(("train_step", "state", "schedule", "writer", "metrics", "is_stop_wanted"))
    return TrainingLoop(
        config=SimpleNamespace(loss=LossSpec()),
        manifest=SimpleNamespace(class_count=85_742, model=SimpleNamespace(embedding_size=512), total_batch_size=1024),
        source=SimpleNamespace(skipped={4, 7}),
        meter=Meter(steps_per_epoch=10, total_steps=100, images_per_step=64),
        **parts,
    )


def test_an_odd_first_loss_is_in_the_report():
    loop = make_loop()
    loop._check_first_loss(46.0)
    assert report_of(loop, None, rank=0).warnings == []
    loop._check_first_loss(11.4)
    (warning,) = report_of(loop, None, rank=0).warnings
    assert "margin is not applied" in warning


def test_every_rank_tells_how_many_images_it_skipped_and_rank_0_the_rest():
    loop = make_loop()
    loop._check_first_loss(11.4)
    assert report_of(loop, None, rank=0).skipped_images == 2
    other = report_of(loop, None, rank=1)
    assert (other.skipped_images, other.progress, other.warnings) == (2, None, [])
