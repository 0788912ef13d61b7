"""A training that loses ranks, is killed and gets them back takes every image as it would have undisturbed."""

import hashlib
import json
import random
from pathlib import Path

import numpy as np
import pytest

from arcface_faces.checkpoint import (
    BACKBONE_FILE,
    ClassRange,
    checkpoints,
    folder_name,
    newest_complete,
    read_file,
    read_head,
    read_manifest,
    step_of,
)
from support.processes.real_ranks import DEADLINE_SECONDS, run_on_ranks, started_ranks
from support.processes.trainings import write_image_folder, write_run_config
from support.waiting import wait_until

SCRIPT = Path(__file__).parent / "resized_run_of_a_rank.py"
FULL, BATCH, EPOCHS, IMAGES = 2, 4, 6, 48
TOTAL_STEPS = EPOCHS * (IMAGES // (FULL * BATCH))
GANGS = (2, 1, 3, 2)
"""8 images a step: one rank takes them in two parts, and three ranks have a row more than there are images."""
SEED = random.SystemRandom().randrange(2**32)
"""Of the steps that gangs are killed after; a failure tells it."""


class Training:
    """One training, by one gang after another."""

    def __init__(self, folder: Path, images: Path) -> None:
        self.folder, self.images, self.gangs = folder, images, 0
        self.checkpoints = folder / "checkpoints"
        self.ids: dict[int, list[int]] = {}
        """Of the images of each step that counts."""

    def gang(self, size: int) -> tuple[str, ...]:
        """Arguments of its ranks."""
        self.gangs += 1
        self.own = self.folder / str(self.gangs)
        self.own.mkdir()
        config = write_run_config(
            self.own / "run.json",
            self.images,
            self.checkpoints,
            training={"epochs": EPOCHS, "batchSize": BATCH, "optimizer": {"learningRate": 0.01}},
            ranks={
                "worldSize": size,
                "fullWorldSize": FULL,
                "perPod": size,
                "accelerator": "cpu",
                "rendezvous": "dynamic",
            },
            checkpoint={"directory": str(self.checkpoints), "everySteps": 1, "keepLast": TOTAL_STEPS},
        )
        config.write_text(json.dumps(json.loads(config.read_text()) | {"metricsPort": 0}))
        return str(config), str(self.own)

    def run(self, size: int) -> None:
        """To the end."""
        run_on_ranks(SCRIPT, size, *self.gang(size))
        self.count(size)

    def run_until(self, size: int, is_time) -> None:
        """Until a moment, at which all ranks are killed."""
        with started_ranks(SCRIPT, size, *self.gang(size)) as ranks:

            def has_come() -> bool:
                assert all(rank.poll() is None for rank in ranks), [rank.communicate() for rank in ranks]
                return is_time()

            wait_until(has_come, DEADLINE_SECONDS)
        self.count(size)

    def count(self, size: int) -> None:
        """Take what the gang has seen into account, in the place of what was lost with the one before."""
        of_ranks = [_steps(self.own / f"{size}-{rank}.ids") for rank in range(size)]
        self.ids = {step: ids for step, ids in self.ids.items() if step < min(of_ranks[0])}
        assert sorted(self.ids) == list(range(min(of_ranks[0]))), "no step is left out"
        seen_by_all = set.intersection(*map(set, of_ranks))
        self.ids |= {step: [number for ids in of_ranks for number in ids[step]] for step in seen_by_all}

    def newest(self) -> int:
        """Steps in the newest checkpoint, 0 without one."""
        newest = newest_complete(self.checkpoints)
        return 0 if newest is None else step_of(newest)

    def saved(self) -> set[int]:
        return {step_of(folder) for folder in checkpoints(self.checkpoints)}

    def weights(self, step: int) -> dict[str, np.ndarray]:
        folder = self.checkpoints / folder_name(step)
        manifest = read_manifest(folder)
        return read_file(folder, manifest, BACKBONE_FILE) | read_head(folder, manifest, ClassRange(0, 4))

    def sha256(self) -> str:
        """Of all ids, step by step in the order of the joined batch."""
        assert sorted(self.ids) == list(range(TOTAL_STEPS))
        return hashlib.sha256(json.dumps([self.ids[step] for step in range(TOTAL_STEPS)]).encode()).hexdigest()


def _steps(file: Path) -> dict[int, list[int]]:
    """Ids by step; a line that a kill has cut off counts for nothing."""
    lines = [line.split() for line in file.read_text().splitlines(keepends=True) if line.endswith("\n")]
    return {int(step): list(map(int, ids)) for step, *ids in lines}


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return write_image_folder(tmp_path_factory.mktemp("images"))


def test_two_ranks_then_one_then_three_then_two_train_on_the_same_images_step_by_step(tmp_path, images):
    draw = random.Random(SEED)
    undisturbed, resized = (Training(tmp_path / name, images) for name in ("undisturbed", "resized"))
    undisturbed.folder.mkdir(), resized.folder.mkdir()
    undisturbed.run(FULL)
    goal = draw.randint(2, 4)
    resized.run_until(GANGS[0], lambda: resized.newest() >= goal and undisturbed.saved() & resized.saved())
    assert_same_weights(resized, undisturbed)
    for size in GANGS[1:-1]:
        goal = resized.newest() + draw.randint(2, 4)
        resized.run_until(size, lambda: resized.newest() >= goal)  # noqa: B023 - it is called before it changes
    resized.run(GANGS[-1])
    assert resized.sha256() == undisturbed.sha256(), f"SEED={SEED}"
    manifests = [read_manifest(folder) for folder in checkpoints(resized.checkpoints)]
    assert {manifest.total_batch_size for manifest in manifests} == {FULL * BATCH}
    assert {manifest.world_size for manifest in manifests} == set(GANGS)


def assert_same_weights(resized: Training, undisturbed: Training) -> None:
    """As long as the gang is the same one, to 1e-5 a step: the order of MindSpore's sums differs from run to run."""
    step = max(undisturbed.saved() & resized.saved())
    expected = undisturbed.weights(step)
    for name, array in resized.weights(step).items():
        np.testing.assert_allclose(array, expected[name], rtol=0, atol=1e-5 * step, err_msg=f"{name}, SEED={SEED}")
