"""The copy that is written while the training goes on."""

import numpy as np
import pytest

from arcface_api.resource.spec import ModelSpec, OptimizerSpec, TrainingSpec
from arcface_faces.checkpoint import LossScale
from arcface_trainer.checkpoint.state import TrainingState, Verifications
from arcface_trainer.distributed.collectives import World
from arcface_trainer.step.train_step import build_train_step
from support.builders.saved_states import make_writer
from support.builders.training_plan import make_plan

pytestmark = pytest.mark.usefixtures("graph_mode")
BATCH, CLASSES = 4, 10
TINY = ModelSpec(backbone="iresnet18", width=0.0625, stem_stride=2, embedding_size=16)


def test_a_step_changes_all_of_the_state_and_nothing_of_a_copy(tmp_path):
    plan = make_plan(model=TINY, class_count=CLASSES)
    train_step = build_train_step(plan, TrainingSpec(optimizer=OptimizerSpec(momentum=0.9)), World(1, 0))
    writer, state = make_writer(tmp_path), TrainingState(train_step)

    def arrays():
        snapshot = writer.snapshot(state, 1, Verifications())
        return [array for tensors in (snapshot.head, *snapshot.shared.values()) for array in tensors.values()]

    before = arrays()
    kept = [array.copy() for array in before]
    images = np.random.default_rng(0).integers(0, 256, (BATCH, 3, 112, 112)).astype(np.uint8)
    train_step.launch(images, np.arange(BATCH, dtype=np.int32), rate=0.1).result()
    for array, copy in zip(before, kept, strict=True):
        np.testing.assert_array_equal(array, copy)
    changed = [(array != copy).any() for array, copy in zip(arrays(), kept, strict=True)]
    assert np.mean(changed) > 0.9, "all but what has no gradient"
    state.begin_anew(plan, World(1, 0))
    for array, copy in zip(arrays(), kept, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_who_begins_anew_has_a_fresh_loss_scale(tmp_path):
    plan = make_plan(model=TINY, class_count=CLASSES, precision="fp16")
    state = TrainingState(build_train_step(plan, TrainingSpec(), World(1, 0)))
    fresh = state.loss_scale()
    state.load_loss_scale(LossScale(scale=2.0, good_steps=7))
    state.begin_anew(plan, World(1, 0))
    assert state.loss_scale() == fresh
