"""Two real ranks, one of which loses its numbers: they go back once, together, and give up the second time."""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from arcface_api.contract.reports import TrainerReport
from arcface_faces import checkpoint
from support.processes.real_ranks import run_on_ranks
from support.processes.trainings import write_image_folder, write_run_config

SCRIPT = Path(__file__).parent / "going_back_of_a_rank.py"
RANKS, IDENTITIES, EVERY_STEPS, TOTAL = 2, 4, 6, 48
FIRST, SECOND = 14, 27
"""Updates before the steps in which numbers are lost."""
BACK_TO = 12
"""The newest checkpoint from before."""
SKIPPED = FIRST + 1 - BACK_TO
LAST = FIRST + 9
"""The tenth step without numbers; the one behind it was launched before anybody had looked."""


class Step(NamedTuple):
    """A step as a rank launched it."""

    number: int
    rate: float
    ids: list[int]


class Left:
    """What the ranks have left."""

    def __init__(self, folder: Path) -> None:
        self.checkpoints = folder / "checkpoints"
        self.steps = [
            [
                Step(int(number), float(rate), list(map(int, ids)))
                for number, rate, *ids in map(str.split, (folder / f"{rank}.steps").read_text().splitlines())
            ]
            for rank in range(RANKS)
        ]
        self.statuses = [int((folder / f"{rank}.status").read_text()) for rank in range(RANKS)]
        self.reports = [TrainerReport.parse((folder / f"{rank}.json").read_text()) for rank in range(RANKS)]
        self.ways_back = [
            next(place for place, step in enumerate(steps[1:], 1) if step.number <= steps[place - 1].number)
            for steps in self.steps
        ]
        """Place of the first step after it, of each rank."""


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> Left:
    folder = tmp_path_factory.mktemp("going-back")
    config = write_run_config(
        folder / "run.json",
        write_image_folder(folder / "images", IDENTITIES),
        folder / "checkpoints",
        training={"epochs": 8, "batchSize": 4, "optimizer": {"learningRate": 0.01}},
        checkpoint={"directory": str(folder / "checkpoints"), "everySteps": EVERY_STEPS, "keepLast": TOTAL},
    )
    config.write_text(json.dumps(json.loads(config.read_text()) | {"metricsPort": 0}))
    run_on_ranks(SCRIPT, RANKS, str(config), str(folder), str(FIRST), str(SECOND))
    return Left(folder)


def test_all_ranks_go_back_once_to_the_newest_checkpoint_from_before(left: Left) -> None:
    for steps, back in zip(left.steps, left.ways_back, strict=True):
        assert [step.number for step in steps[:back]] in (list(range(LAST + 1)), list(range(LAST + 2)))
        assert [step.number for step in steps[back:]] == list(range(BACK_TO, BACK_TO + len(steps) - back))
    assert left.ways_back[0] == left.ways_back[1]


def test_they_go_on_past_the_batch_that_did_it_as_the_manifest_says(left: Left) -> None:
    for steps, back in zip(left.steps, left.ways_back, strict=True):
        before = {step.number: step.ids for step in steps[:back]}
        after = {step.number: step.ids for step in steps[back:]}
        seen = [number for number in after if number + SKIPPED in before]
        assert len(seen) >= LAST - BACK_TO - SKIPPED
        for number in seen:
            assert after[number] == before[number + SKIPPED]
    noted = checkpoint.read_manifest(left.checkpoints / checkpoint.folder_name(BACK_TO + EVERY_STEPS)).roll_back
    assert noted is not None
    assert (noted.from_step, noted.to_step, noted.skipped_batches) == (FIRST, BACK_TO, SKIPPED)
    assert noted.cause.startswith(f"the running statistics of the normalisations not finite on rank 1 at step {FIRST} ")


def test_they_go_on_at_half_the_rate_of_the_schedule(left: Left) -> None:
    for step in left.steps[0]:
        whole = 0.01 * (1 - step.number / TOTAL)
        is_after = step in left.steps[0][left.ways_back[0] :]
        assert step.rate == pytest.approx(whole / 2 if is_after else whole, rel=1e-6)


def test_the_second_time_all_ranks_end_with_exit_code_3_and_name_rank_tensor_and_step(left: Left) -> None:
    assert left.statuses == [3] * RANKS
    for report in left.reports:
        assert report is not None
        assert report.failure is not None
        assert (report.failure.reason, report.failure.exit_code, report.failure.rank) == ("Diverged", 3, 1)
        assert report.failure.message.startswith(
            f"the running statistics of the normalisations not finite on rank 1 at step {SECOND} and 10 of "
        )
        assert "although the training went back once" in report.failure.message


def test_no_checkpoint_holds_a_number_that_is_not_finite(left: Left) -> None:
    folders = checkpoint.checkpoints(left.checkpoints)
    assert [checkpoint.step_of(folder) for folder in folders] == [24, 18, 12, 6], "none of the steps without numbers"
    for folder in folders:
        manifest = checkpoint.read_manifest(folder)
        assert list(checkpoint.damages(folder, manifest)) == []
        arrays = checkpoint.read_file(folder, manifest, checkpoint.BACKBONE_FILE)
        assert all(np.isfinite(array).all() for array in arrays.values())
