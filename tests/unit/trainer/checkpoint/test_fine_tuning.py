"""Beginning with a checkpoint's weights: what is taken over, and what is refused by name."""

import shutil

import cv2
import numpy as np
import pytest

from arcface_api.contract.pod_environment import RankIdentity
from arcface_api.contract.run_config import RunCheckpoint
from arcface_api.errors import InvalidInput
from arcface_api.resource.spec import ModelSpec, TrainingSpec
from arcface_faces.checkpoint import (
    BACKBONE_FILE,
    ClassRange,
    checkpoint_folder,
    manifest_sha256,
    read_file,
    read_head,
    read_manifest,
)
from arcface_trainer.checkpoint.checkpointing import Checkpointing
from arcface_trainer.checkpoint.fine_tuning import FineTuning
from arcface_trainer.checkpoint.saving import Saver
from arcface_trainer.checkpoint.state import TrainingState, Verifications
from arcface_trainer.checkpoint.writer import CheckpointWriter
from arcface_trainer.distributed.collectives import World
from arcface_trainer.head.class_means import class_means
from arcface_trainer.network.backbones import load_network
from arcface_trainer.step.train_step import build_train_step
from support.builders.saved_states import flip_the_last_bit, rewrite_manifest
from support.builders.training_plan import make_plan
from support.fakes.rank_threads import run_ranks

pytestmark = pytest.mark.usefixtures("graph_mode")
MODEL = ModelSpec(backbone="iresnet18", width=0.0625, stem_stride=2, embedding_size=16)
CLASSES, EACH = 6, 3
ALONE, IDENTITY = World(1, 0), RankIdentity()


class Faces:
    """Noise, in a colour for each identity; `order` gives the identities of a set other numbers."""

    class_count, dropped_identities = CLASSES, 0

    def __init__(self, order=range(CLASSES)):
        self.order, self.labels = list(order), np.repeat(np.arange(CLASSES), EACH)

    def image_bytes(self, index):
        person = self.order[self.labels[index]]
        pixels = np.random.default_rng([person, index % EACH]).integers(0, 60, (112, 112, 3))
        pixels[:, : 18 * (person + 1)] += 40 * person
        return cv2.imencode(".png", pixels.astype(np.uint8))[1].tobytes()

    def where(self, index):
        return f"image {index}"


def plan(**facts):
    return make_plan(**{"model": MODEL, "class_count": CLASSES, "seed": 3, **facts})


def fresh_state(its_plan):
    return TrainingState(build_train_step(its_plan, TrainingSpec(), ALONE))


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A folder with a checkpoint whose centres know the faces, as after a training."""
    folder, its_plan = tmp_path_factory.mktemp("source"), plan(job="first", seed=8)
    state = fresh_state(its_plan)
    settings = run_checkpoint(folder)
    backbone, head = state.backbone(ALONE), state.head()
    save(CheckpointWriter(settings, its_plan, ALONE), state, 20)
    network = load_network(checkpoint_folder(folder))
    state.begin_with(backbone, class_means(Faces(), ClassRange(0, CLASSES), network, 4, head["centers"]), "made")
    save(CheckpointWriter(settings, its_plan, ALONE), state, 40)
    return folder


def run_checkpoint(folder):
    return RunCheckpoint(directory=str(folder), every_steps=100, keep_last=5)


def save(writer, state, step):
    saver = Saver(writer)
    writer.prepare()
    saver.begin(writer.snapshot(state, step, Verifications()))
    assert saver.finish().failure is None


def begin(source, faces, **facts):
    """The state that a run begins with, and what its checkpoints will say of it."""
    its_plan = plan(**facts)
    state = fresh_state(its_plan)
    return state, FineTuning(source, its_plan, faces, 4, ALONE).begin(state)


def test_weights_and_statistics_are_the_checkpoints_and_momentum_is_none(source):
    state, told = begin(source, Faces())
    folder = checkpoint_folder(source)
    for name, array in read_file(folder, read_manifest(folder), BACKBONE_FILE).items():
        np.testing.assert_array_equal(state.backbone(ALONE)[name], array, err_msg=name)
    assert not any(array.any() for array in state.momentum().values())
    assert (told.job, told.step, told.sha256) == ("first", 40, manifest_sha256(folder))


def test_a_head_that_knows_the_identities_is_kept_whatever_images_there_are_of_them(source):
    state, told = begin(source, Faces(), image_count=1000)
    folder = checkpoint_folder(source)
    assert told.head == "kept"
    stored = read_head(folder, read_manifest(folder), ClassRange(0, CLASSES))
    np.testing.assert_array_equal(state.head()["centers"], stored["centers"])
    assert not state.head()["momentum"].any()


@pytest.mark.parametrize(
    ("order", "facts"),
    [
        pytest.param([1, 2, 3, 4, 5, 0], {}, id="as many, and others at each number"),
        pytest.param(range(CLASSES), {"class_count": CLASSES + 1}, id="one more that has no images yet"),
    ],
)
def test_elsewhere_the_head_begins_with_the_means_of_the_classes(source, order, facts):
    state, told = begin(source, Faces(order), **facts)
    assert told.head == "means"
    network = load_network(checkpoint_folder(source))
    centers = state.head()["centers"]
    expected = class_means(Faces(order), ClassRange(0, CLASSES), network, 4, centers[:CLASSES])
    np.testing.assert_allclose(centers[:CLASSES], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (
            {"backbone": "mobilefacenet", "stem_stride": 1},
            "model.backbone is mobilefacenet, the checkpoint's is iresnet18",
        ),
        ({"width": 0.125}, "model.width is 0.125, the checkpoint's is 0.0625"),
        ({"embedding_size": 32}, "model.embeddingSize is 32, the checkpoint's is 16"),
    ],
)
def test_another_network_is_refused_by_name(source, model, said):
    other = plan(model=MODEL.model_copy(update=model))
    with pytest.raises(InvalidInput) as caught:
        FineTuning(source, other, Faces(), 4, ALONE).begin(None)
    assert str(caught.value) == (
        f"spec.model.initFrom: {source / 'step-00000040'} is of another network: {said}: write the same, or name "
        "another one"
    )


def test_a_folder_without_a_checkpoint_is_refused_by_name(tmp_path):
    with pytest.raises(InvalidInput, match=r"^spec\.model\.initFrom: .* holds no complete checkpoint"):
        FineTuning(tmp_path, plan(), Faces(), 4, ALONE).begin(None)


def test_a_damaged_checkpoint_is_never_exchanged_for_an_older_one(source, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(source, copy)
    flip_the_last_bit(copy / "step-00000040" / BACKBONE_FILE)
    with pytest.raises(InvalidInput, match=r"^spec\.model\.initFrom: .*step-00000040/backbone.* is damaged"):
        FineTuning(copy, plan(), Faces(), 4, ALONE).begin(None)


def test_ranks_take_the_checkpoint_that_the_first_one_sees(source):
    """The second rank is told of a folder; the first one of an older checkpoint in it."""

    def find(world):
        given = source / "step-00000020" if world.is_first else source
        return FineTuning(given, plan(), Faces(), 4, world)._find()[0].name

    assert run_ranks(2, find) == ["step-00000020"] * 2


def test_ranks_that_see_different_checkpoints_are_refused(source, tmp_path):
    """Copies of one volume that have not grown alike."""
    for number in (0, 1):
        shutil.copytree(source / "step-00000040", tmp_path / str(number) / "step-00000040")
    rewrite_manifest(tmp_path / "1" / "step-00000040", lambda document: document.update(recipe={"seed": 8}))

    def find(world):
        tuning = FineTuning(tmp_path / str(world.rank), plan(), Faces(), 4, world)
        with pytest.raises(InvalidInput, match="the ranks see different checkpoints there"):
            tuning._find()

    run_ranks(2, find)


def test_a_run_that_goes_on_from_a_checkpoint_of_its_own_does_not_look_at_the_source_again(source, tmp_path):
    its_plan = plan(model=MODEL.model_copy(update={"freeze_epochs": 1}))
    settings = run_checkpoint(tmp_path)
    tuning = FineTuning(source, its_plan, Faces(), 4, ALONE)
    state = fresh_state(its_plan)
    first = Checkpointing.start(settings, state, its_plan, ALONE, IDENTITY, fine_tuning=tuning)
    save(first.saver.writer, state, 10)
    manifest = read_manifest(tmp_path / "step-00000010")
    assert manifest.source is not None
    assert (manifest.source.step, manifest.model) == (40, MODEL), "where weights come from is no part of the network"
    gone = FineTuning(tmp_path / "gone", its_plan, Faces(), 4, ALONE)
    again = Checkpointing.start(settings, fresh_state(its_plan), its_plan, ALONE, IDENTITY, fine_tuning=gone)
    assert again.saver.writer.plan.source == manifest.source
