"""Four real ranks, one of which loses its numbers: a step is left out, they go back once, together, and give up."""

import json
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from arcface_api.contract.reports import ReportedFailure, TrainerReport
from arcface_faces import checkpoint
from support.processes.real_ranks import run_on_ranks
from support.processes.trainings import write_image_folder, write_run_config

SCRIPT = Path(__file__).parent / "going_back_of_a_rank.py"
RANKS, IDENTITIES, EVERY_STEPS, TOTAL = 4, 4, 6, 48
PASSING = {3: "gradient", 4: "loss", 5: "statistics"}
BEGUN, FIRST, SECOND = 12, 19, 31
"""As in the script: where later trainings begin, and updates before the steps in which numbers are lost for long."""
BACK_TO = 18
"""The newest checkpoint from before."""
SKIPPED = FIRST + 1 - BACK_TO
LAST = 9
"""Steps between the first and the tenth step without numbers; one more is launched before anybody has looked."""
FAULTS = {
    "gradient": "the gradient of norm.beta",
    "statistics": "the running statistics of the normalisations",
    "loss": "the class centres",
}
"""What each kind is called: the backward pass comes to `norm.beta` first, and centres are what spoils the loss."""
COURSES = ["gradient-statistics", "statistics-loss", "loss-gradient"]
"""What is lost first and what then, in each training."""


class Step(NamedTuple):
    """A step as a rank launched it."""

    number: int
    rate: float
    shared: str
    """Digest of weights and momentum before it, which all ranks have alike."""
    own: str
    """Digest of the statistics and the head before it."""
    ids: str
    """Of its images on this rank."""
    fault: str
    """Why it was left out; empty where it was not."""


class Left:
    """What the ranks have left of a training."""

    def __init__(self, folder: Path) -> None:
        self.first, self.second = folder.name.split("-")
        self.begun = 0 if folder.name == COURSES[0] else BEGUN
        self.checkpoints = folder / "checkpoints"
        self.steps = [read_steps(folder / f"{rank}.steps") for rank in range(RANKS)]
        self.statuses = [int((folder / f"{rank}.status").read_text()) for rank in range(RANKS)]
        reports = [TrainerReport.parse((folder / f"{rank}.json").read_text()) for rank in range(RANKS)]
        self.failures = [None if report is None else report.failure for report in reports]
        self.way_back = next(place for place, (last, step) in enumerate(pairwise(self.steps[0]), 1) if step < last)
        """Place of the first step after it."""

    def before(self, rank: int) -> list[Step]:
        """Steps until the training went back."""
        return self.steps[rank][: self.way_back]

    def after(self, rank: int) -> list[Step]:
        """Steps from then on."""
        return self.steps[rank][self.way_back :]


def read_steps(file: Path) -> list[Step]:
    lines = [line.split("\t") for line in file.read_text().splitlines()]
    return [Step(int(number), float(rate), *rest) for number, rate, *rest in lines]


@pytest.fixture(scope="module")
def trainings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Left]:
    folder = tmp_path_factory.mktemp("going-back")
    images = write_image_folder(folder / "images", IDENTITIES)
    for name in COURSES:
        checkpoints = folder / name / "checkpoints"
        checkpoints.mkdir(parents=True)
        config = write_run_config(
            folder / name / "run.json",
            images,
            checkpoints,
            model={"backbone": "iresnet18", "embeddingSize": 8},
            training={"epochs": 16, "batchSize": 4, "optimizer": {"learningRate": 0.01}},
            ranks={"worldSize": RANKS, "perPod": RANKS, "accelerator": "cpu", "rendezvous": "dynamic"},
            checkpoint={"directory": str(checkpoints), "everySteps": EVERY_STEPS, "keepLast": TOTAL},
        )
        config.write_text(json.dumps(json.loads(config.read_text()) | {"metricsPort": 0}))
    run_on_ranks(SCRIPT, RANKS, str(folder), *COURSES)
    return {name: Left(folder / name) for name in COURSES}


@pytest.fixture(params=COURSES)
def left(request: pytest.FixtureRequest, trainings: dict[str, Left]) -> Left:
    return trainings[request.param]


def test_all_ranks_go_back_once_to_the_newest_checkpoint_from_before(left: Left) -> None:
    for rank in range(RANKS):
        before, after = ([step.number for step in steps] for steps in (left.before(rank), left.after(rank)))
        assert before == list(range(left.begun, FIRST + LAST + 2))
        assert after == list(range(BACK_TO, SECOND + LAST + 2))
        kept, loaded = left.before(rank)[BACK_TO - left.begun], left.after(rank)[0]
        assert (kept.number, kept.shared) == (loaded.number, loaded.shared)


def test_all_ranks_name_tensor_rank_and_step_of_every_step_that_they_leave_out(left: Left) -> None:
    passing = PASSING if left.begun == 0 else {}
    first = dict.fromkeys(range(FIRST, FIRST + LAST + 2), left.first)
    second = dict.fromkeys(range(SECOND, SECOND + LAST + 2), left.second)
    for rank in range(RANKS):
        for steps, lost in ((left.before(rank), passing | first), (left.after(rank), second)):
            found = {step.number: step.fault for step in steps if step.fault}
            assert found == {number: f"{FAULTS[kind]} not finite on rank 3" for number, kind in lost.items()}


def test_a_step_that_is_left_out_changes_nothing_on_any_rank_and_every_other_one_all_ranks_alike(left: Left) -> None:
    for rank in range(RANKS):
        for steps in (left.before(rank), left.after(rank)):
            for step, following in pairwise(steps):
                assert (following.shared == step.shared) == bool(step.fault)
                if step.number in PASSING:
                    assert following.own == step.own
                elif not step.fault:
                    assert following.own != step.own
        assert [step.shared for step in left.steps[rank]] == [step.shared for step in left.steps[0]]


def test_they_go_on_past_the_batch_that_did_it_as_the_manifest_says(left: Left) -> None:
    for rank in range(RANKS):
        before = {step.number: step.ids for step in left.before(rank)}
        seen = [step for step in left.after(rank) if step.number + SKIPPED in before]
        assert len(seen) == FIRST + LAST + 2 - SKIPPED - BACK_TO
        assert [step.ids for step in seen] == [before[step.number + SKIPPED] for step in seen]
    noted = checkpoint.read_manifest(left.checkpoints / checkpoint.folder_name(BACK_TO + EVERY_STEPS)).roll_back
    assert noted is not None
    assert (noted.from_step, noted.to_step, noted.skipped_batches) == (FIRST, BACK_TO, SKIPPED)
    assert noted.cause.startswith(f"{FAULTS[left.first]} not finite on rank 3 at step {FIRST} and 10 of ")


def test_they_go_on_at_half_the_rate_of_the_schedule(left: Left) -> None:
    for steps, factor in ((left.before(0), 1.0), (left.after(0), 0.5)):
        for step in steps:
            assert step.rate == pytest.approx(factor * 0.01 * (1 - step.number / TOTAL), rel=1e-6)


def test_the_second_time_all_ranks_end_with_exit_code_3_and_name_rank_tensor_and_step(left: Left) -> None:
    assert left.statuses == [3] * RANKS
    for failure in left.failures:
        assert isinstance(failure, ReportedFailure)
        assert (failure.reason, failure.exit_code, failure.rank) == ("Diverged", 3, 3)
        assert failure.message.startswith(f"{FAULTS[left.second]} not finite on rank 3 at step {SECOND} and 10 of ")
        assert "although the training went back once" in failure.message


def test_no_checkpoint_holds_a_number_that_is_not_finite(left: Left) -> None:
    """A gradient spoils no state: what is saved meanwhile is that of the step before, and is put aside later."""
    folders = checkpoint.checkpoints(left.checkpoints)
    sound = [*range(left.begun, SECOND, EVERY_STEPS), *([36] if left.second == "gradient" else [])]
    assert [checkpoint.step_of(folder) for folder in reversed(folders)] == [step for step in sound if step]
    aside = list(left.checkpoints.glob("superseded-*"))
    assert [folder.name for folder in aside] == ["superseded-step-00000024"] * (left.first == "gradient")
    for folder in (*folders, *aside):
        manifest = checkpoint.read_manifest(folder)
        assert list(checkpoint.damages(folder, manifest)) == []
        for entry in manifest.files:
            arrays = checkpoint.read_file(folder, manifest, entry.name)
            assert all(np.isfinite(array).all() for array in arrays.values()), (folder, entry.name)
