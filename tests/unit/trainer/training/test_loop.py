"""What the host does while a step is in flight, what it waits for, and what the loop tells of itself."""

from types import SimpleNamespace

import numpy as np
import pytest

from arcface_api.contract.history import History
from arcface_api.contract.pod_environment import RankIdentity
from arcface_api.contract.run_config import RunCheckpoint
from arcface_api.errors import Diverged, InvalidInput, Stopped
from arcface_faces.checkpoint import BACKBONE_FILE, checkpoints, read_file, read_manifest
from arcface_trainer.checkpoint.checkpointing import Checkpointing
from arcface_trainer.checkpoint.saving import Saver
from arcface_trainer.checkpoint.state import Verifications
from arcface_trainer.checkpoint.writer import CheckpointWriter
from arcface_trainer.data.loader import Batch
from arcface_trainer.distributed.collectives import World
from arcface_trainer.metrics import TrainMetrics
from arcface_trainer.training import loop as loop_module
from arcface_trainer.training.history import HistoryWriter
from arcface_trainer.training.loop import TrainingLoop
from arcface_trainer.training.verdict import MOST_SKIPS
from support.builders.saved_states import PLAN
from support.builders.training_plan import make_plan
from support.builders.verifications import found
from support.fakes.queued_steps import QueuedSteps
from support.fakes.rank_threads import run_ranks
from support.waiting import wait_until

NEVER = 10**6


class Loader:
    """Images that are there at once, but for what a test does instead."""

    skipped = frozenset()

    def __init__(self, before=None):
        self.before = before

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def take(self, step):
        if self.before is not None:
            self.before(step)
        return Batch(np.zeros((4, 3, 112, 112), np.uint8), np.zeros(4, np.int32))


def make_loop(
    directory, device, *, steps=6, every_steps=NEVER, loader=None, verifier=None, is_stop_wanted=bool, starts=False
):
    world = device.world
    plan = make_plan(steps, 1, class_count=PLAN.class_count, model=PLAN.model, world_size=world.size)
    settings = RunCheckpoint(directory=str(directory), path="runs/7", every_steps=every_steps, keep_last=NEVER)
    if starts:
        checkpointing = Checkpointing.start(settings, device.state, plan, world, RankIdentity())
        metrics = TrainMetrics(world.rank)
        return TrainingLoop(plan, world.rank, device, Loader(), checkpointing, None, is_stop_wanted, metrics)
    saver = Saver(CheckpointWriter(settings, plan, world))
    if world.is_first:
        saver.writer.prepare()
    world.all_gather([0])
    checkpointing = Checkpointing(settings, device.state, saver, Verifications())
    metrics = TrainMetrics(world.rank)
    return TrainingLoop(plan, world.rank, device, loader or Loader(), checkpointing, verifier, is_stop_wanted, metrics)


def saved(directory):
    """Steps of the checkpoints, and the step whose state each of them holds."""
    states = {}
    for folder in checkpoints(directory):
        manifest = read_manifest(folder)
        states[manifest.step] = read_file(folder, manifest, BACKBONE_FILE)["stem.weight"][0, 0].item()
    return states


@pytest.fixture
def device():
    return QueuedSteps(World(1, 0))


def test_a_step_is_launched_before_the_last_one_is_waited_for(tmp_path, device):
    loop = make_loop(tmp_path, device, steps=4)
    loop.run()
    assert device.events == [
        *("launch 1", "launch 2", "end 1", "launch 3", "end 2", "launch 4", "end 3"),
        *("end 4", "copy"),
    ]
    assert (loop.meter.step, [record.loss for record in loop.meter.recent]) == (4, [1, 2, 3, 4])


def test_a_state_that_is_due_is_that_of_its_step(tmp_path, device):
    make_loop(tmp_path, device, steps=9, every_steps=4).run()
    assert saved(tmp_path)[4] == 4
    assert saved(tmp_path)[9] == 9
    for step in (4, 9):
        assert device.events[device.events.index(f"end {step}") + 1] == "copy"


def test_all_steps_have_ended_and_are_judged_before_the_network_is(tmp_path, device):
    judged = []

    def verify(step, _loss_check):
        judged.append((step, loop.meter.step, device.events[-1]))
        return found(step, 0.9)

    loop = make_loop(
        tmp_path, device, verifier=SimpleNamespace(is_due=lambda step: step in {3, 6}, verify=verify, pair_seconds=())
    )
    loop.run()
    assert judged == [(3, 3, "end 3"), (6, 6, "end 6")]


@pytest.mark.parametrize("asked_at", [1, 3, 5])
def test_all_ranks_stop_after_the_same_step_and_save_its_state(tmp_path, asked_at):
    def rank_main(world):
        device = QueuedSteps(world)
        is_stop_wanted = lambda: world.rank == 1 and device.launched + 1 >= asked_at  # noqa: E731
        loop = make_loop(tmp_path, device, steps=20, every_steps=4, is_stop_wanted=is_stop_wanted)
        with pytest.raises(Stopped, match=f"after step {asked_at + 1}, the state is saved"):
            loop.run()
        return loop.meter.step, device.launched

    assert run_ranks(3, rank_main) == [(asked_at + 1, asked_at + 1)] * 3
    assert saved(tmp_path)[asked_at + 1] == asked_at + 1


def test_a_run_that_was_stopped_takes_the_same_steps_as_one_that_was_not(tmp_path):
    taken = []

    class Recording(QueuedSteps):
        def launch(self, images, labels, rate, *rest, step):
            taken[-1].append((step, rate))
            return super().launch(images, labels, rate, *rest)

    taken.append([])
    make_loop(tmp_path / "whole", Recording(World(1, 0))).run()
    taken.append([])
    device = Recording(World(1, 0))
    loop = make_loop(tmp_path / "stopped", device, is_stop_wanted=lambda: device.launched == 2)
    with pytest.raises(Stopped):
        loop.run()
    resumed = make_loop(tmp_path / "stopped", Recording(World(1, 0), launched=loop.meter.step))
    resumed.meter.step = loop.meter.step
    resumed.run()
    assert taken[0] == taken[1]
    assert [step for step, _ in taken[0]] == list(range(6))
    assert saved(tmp_path / "stopped") == {4: 4, 6: 6}


def spoiled(first, last):
    """Losses of a device that finds no numbers from one of its steps to another."""
    return lambda step: (np.nan, False) if first <= step <= last else (float(step), True)


LAST = MOST_SKIPS + 6
"""The step whose results are the tenth without numbers, where those from the seventh on have none."""


def wait_for_saves(loop, before=lambda _step: None):
    """Have a loop take no images before the disk has done what it was given: saves take as many steps on any disk."""
    saver = loop.checkpointing.saver

    def take(step):
        if saver.is_busy:
            wait_until(saver._stage.work.done)
        before(step)

    loop.loader = Loader(take)


def test_all_ranks_go_back_together_past_the_batch_that_did_it_and_more_slowly(tmp_path):
    def rank_main(world):
        device, taken = QueuedSteps(world, spoiled(7, LAST)), []
        loop = make_loop(tmp_path, device, steps=20, every_steps=4)
        wait_for_saves(loop, taken.append)
        loop.run()
        return device, taken, loop

    ranks = run_ranks(3, rank_main)
    rate, launched = ranks[0][2].plan.schedule.rate, LAST
    # The save that is due after it has the loop wait for this step before the next one is launched.
    assert LAST % 4 == 0
    for device, taken, loop in ranks:
        assert taken == [*range(launched), *range(4 + 3, 20 + 3)], "batches 4, 5 and 6 led there; none comes twice"
        assert device.rates == [*map(rate, range(launched)), *(0.5 * rate(step) for step in range(4, 20))]
        assert (loop.meter.step, device.launched, device.events.count("load 4")) == (20, launched + 16, 1)
    *_, warning = ranks[0][2].report().warnings
    assert warning.startswith(
        "the training went back from step 6 to 4, past 3 batches and with 0.5 times the learning "
    )
    assert "a sum over the ranks not finite at step 6" in warning


def test_what_the_training_has_left_is_kept_aside_and_never_called_damaged(tmp_path, device):
    device.outcome = spoiled(7, LAST)
    loop = make_loop(tmp_path, device, steps=20, every_steps=4)
    wait_for_saves(loop)
    loop.run()
    found = {path.name for path in tmp_path.iterdir()}
    assert (aside := {name for name in found if not name.startswith("step-")}), "saved while the numbers were none"
    assert all(name.startswith("superseded-step-") for name in aside)
    assert saved(tmp_path)[4] == 4, "what it went back to"
    assert saved(tmp_path)[20] == device.launched
    for step in (4, 20):
        assert read_manifest(tmp_path / f"step-{step:08d}").roll_back.skipped_batches == 3


def test_before_the_first_checkpoint_all_ranks_begin_anew_past_the_batch_that_did_it_and_more_slowly(tmp_path):
    def rank_main(world):
        device, taken = QueuedSteps(world, spoiled(3, MOST_SKIPS + 2)), []
        loop = make_loop(tmp_path, device, steps=20, every_steps=4)
        wait_for_saves(loop, taken.append)
        loop.run()
        return device, taken, loop

    for device, taken, loop in run_ranks(2, rank_main):
        rate, launched = loop.plan.schedule.rate, taken.index(3, 4)  # where batch 3 comes again
        assert taken == [*range(launched), *range(3, 20 + 3)], "batches 0, 1 and 2 led there"
        assert device.rates == [*map(rate, range(launched)), *(0.5 * rate(step) for step in range(20))]
        assert (loop.meter.step, device.events.count("begin anew")) == (20, 1)
    first = read_manifest(checkpoints(tmp_path)[-1])  # it is saved at once: only a manifest tells whoever resumes
    assert (first.step <= 3, first.roll_back.to_step, first.roll_back.skipped_batches) == (True, 0, 3)


def test_a_run_whose_checkpoint_from_before_is_gone_has_diverged(tmp_path, device, monkeypatch):
    device.outcome = spoiled(7, NEVER)
    monkeypatch.setattr(Checkpointing, "roll_back", lambda *_: None)
    with pytest.raises(Diverged, match=r"at step 6 and .*there is no checkpoint from before that any more"):
        make_loop(tmp_path, device, steps=40).run()


def test_a_run_that_goes_wrong_again_has_diverged_after_a_restart_too(tmp_path):
    device = QueuedSteps(World(1, 0), spoiled(7, NEVER))
    with pytest.raises(Diverged, match="although the training went back once"):
        make_loop(tmp_path, device, steps=40, every_steps=4).run()
    assert set(saved(tmp_path).values()) == {4.0}
    restarted = QueuedSteps(World(1, 0), spoiled(2, NEVER))
    loop = make_loop(tmp_path, restarted, steps=40, every_steps=4, starts=True)
    newest, taken = loop.meter.step, []
    loop.loader = Loader(taken.append)
    with pytest.raises(Diverged, match="although the training went back once"):
        loop.run()
    assert taken[0] == newest + 3, "the batches that were left out stay so"
    assert restarted.rates[0] == 0.5 * loop.plan.schedule.rate(newest)


def test_a_loss_that_stands_still_sends_the_training_back_to_when_it_moved(tmp_path, device):
    device.outcome = lambda step: (float(step) if step <= 10 or step > 31 else 69.0776, True)
    make_loop(tmp_path, device, steps=40, every_steps=8).run()
    assert read_manifest(tmp_path / "step-00000040").roll_back.to_step == 8


def test_a_rank_that_fails_leaves_when_the_step_in_flight_has_ended(tmp_path, device):
    def damaged(step):
        if step == 3:
            raise InvalidInput("image 17 is damaged")

    with pytest.raises(InvalidInput):
        make_loop(tmp_path, device, loader=Loader(damaged)).run()
    assert device.events[-2:] == ["end 2", "end 3"]


def test_whoever_watches_is_told_what_the_rank_begins_once_it_has_made_a_step(tmp_path, device):
    told, verifier = (
        [],
        SimpleNamespace(is_due=lambda step: step == 3, verify=lambda step, _check: found(step, 0.9), pair_seconds=()),
    )
    loop = make_loop(tmp_path, device, steps=4, verifier=verifier)
    loop.enter = lambda phase, step: told.append(f"{phase.name} {step}")
    loop.run()
    assert told == [
        *("START 0", "START 0", "START 1", "START 1", "START 1"),
        *("CHECKPOINT 2", "DATA 2", "STEP 2", "VERIFICATION 3", "CHECKPOINT 3", "DATA 3", "STEP 3", "CHECKPOINT 4"),
    ]


@pytest.mark.parametrize(
    ("ends_after", "expected"),
    [
        pytest.param(None, 0.0, id="still computes when they come"),
        pytest.param(2.0, 1.0, id="ends before they come"),
        pytest.param(0.0, 3.0, id="has ended when they are asked for"),
    ],
)
def test_a_wait_for_images_counts_while_the_device_has_nothing_to_do(tmp_path, monkeypatch, ends_after, expected):
    now = SimpleNamespace(seconds=100.0)
    monkeypatch.setattr(loop_module, "time", SimpleNamespace(monotonic=lambda: now.seconds))
    device = QueuedSteps(World(1, 0), clock=lambda: now.seconds)

    def images_come_after_three_seconds(step):
        for passed in (0.0, 1.0, 2.0, 3.0):
            now.seconds += 1.0 if passed else 0.0
            if passed == ends_after:
                device.end(step)

    loop = make_loop(tmp_path, device, steps=4, loader=Loader(images_come_after_three_seconds))
    loop.run()
    assert device.waits == [3.0, expected, expected, expected], "of the first one there is nothing to do before"


def test_the_time_of_a_step_is_from_end_to_end_without_what_is_done_between(tmp_path, monkeypatch):
    now = SimpleNamespace(seconds=100.0)
    monkeypatch.setattr(loop_module, "time", SimpleNamespace(monotonic=lambda: now.seconds))

    def clock():
        now.seconds += 2.0
        return now.seconds

    def verify(step, _loss_check):
        now.seconds += 50.0
        return found(step, 0.9)

    device = QueuedSteps(World(1, 0), clock=clock)
    loop = make_loop(
        tmp_path, device, verifier=SimpleNamespace(is_due=lambda step: step == 3, verify=verify, pair_seconds=())
    )
    loop.run()
    assert [record.seconds for record in loop.meter.recent] == [2.0] * 6


def make_report(rank, first_loss):
    checkpointing = SimpleNamespace(newest=None, resumed=None, current_warnings=list, rolled_back=None)
    plan = make_plan(class_count=85_742, total_batch_size=1024)
    loader = SimpleNamespace(skipped={4, 7})
    loop = TrainingLoop(
        plan, rank, None, loader, checkpointing, verifier=None, is_stop_wanted=bool, metrics=TrainMetrics(rank)
    )
    loop.loss_check.check_first_loss(first_loss)
    return loop.report()


def test_an_odd_first_loss_is_in_the_report():
    assert make_report(rank=0, first_loss=46.0).warnings == []
    (warning,) = make_report(rank=0, first_loss=11.4).warnings
    assert "margin is not applied" in warning


def test_every_rank_tells_how_many_images_it_skipped_and_rank_0_the_rest():
    assert make_report(rank=0, first_loss=11.4).skipped_images == 2
    told = make_report(rank=1, first_loss=11.4)
    assert (told.skipped_images, told.progress, told.warnings) == (2, None, [])


def test_the_history_has_each_log_interval_the_end_and_each_verification(tmp_path, device):
    verifier = SimpleNamespace(
        is_due=lambda step: step == 30, verify=lambda step, _check: found(step, 0.9), pair_seconds=()
    )
    loop = make_loop(tmp_path, device, steps=45, verifier=verifier)
    loop.history = HistoryWriter.start(tmp_path, loop.plan, RankIdentity(), 0)
    loop.run()
    history = History.read(tmp_path)
    assert [(line.step, line.loss) for line in history.figures] == [(20, 10.5), (40, 30.5), (45, 43.0)]
    assert list(history.verifications) == [found(30, 0.9)]


@pytest.mark.parametrize(("asked_at", "expected"), [(24, [(20, 20), (25, 5)]), (39, [(20, 20), (40, 20)])])
def test_the_history_of_a_run_that_is_stopped_ends_with_its_last_step(tmp_path, device, asked_at, expected):
    loop = make_loop(tmp_path, device, steps=90, is_stop_wanted=lambda: device.launched + 1 >= asked_at)
    loop.history = HistoryWriter.start(tmp_path, loop.plan, RankIdentity(), 0)
    with pytest.raises(Stopped, match=f"after step {expected[-1][0]}, the state is saved"):
        loop.run()
    figures = History.read(tmp_path).figures
    assert [(line.step, line.steps) for line in figures] == expected
    # The loss of step n is n here, so the mean over steps a to b is their middle.
    assert [line.loss for line in figures] == [line.step - (line.steps - 1) / 2 for line in figures]


def test_a_history_goes_on_at_a_saved_state_with_each_step_in_one_line(tmp_path, device):
    """As after a kill behind step 45: the states after 16 and 32 are there, and any of them may be gone on from."""
    loop = make_loop(tmp_path, device, steps=45, every_steps=16)
    loop.history = HistoryWriter.start(tmp_path, loop.plan, RankIdentity(), 0)
    loop.run()
    for step in saved(tmp_path):
        history = HistoryWriter.start(tmp_path, loop.plan, RankIdentity(), step)
        with history:
            pass
        told = History.read(tmp_path).figures
        assert_each_step_is_in_one_line(told)
        assert told[-1].step == step


def assert_each_step_is_in_one_line(told):
    assert [line.step - line.steps for line in told] == [0, *(line.step for line in told[:-1])]


def test_the_history_has_no_step_that_the_training_took_back(tmp_path, device):
    device.outcome = lambda step: (float(step) if step <= 10 or step > 31 else 69.0776, True)
    loop = make_loop(tmp_path, device, steps=40, every_steps=8)
    loop.history = HistoryWriter.start(tmp_path, loop.plan, RankIdentity(), 0)
    loop.run()
    history = History.read(tmp_path)
    assert [line.step for line in history.starts] == [0, 8]
    assert_each_step_is_in_one_line(history.figures)
    assert {line.stretch for line in history.figures if line.step > 8} == {history.starts[1].stretch}
