"""States in the memory of pods: what ranks go on from that are started again, and what they never go on from."""

import logging
import shutil
from dataclasses import replace

import numpy as np
import pytest

from arcface_api.resource.spec import ModelSpec
from arcface_faces import checkpoint
from arcface_trainer.checkpoint import pod_memory, resume
from arcface_trainer.checkpoint.saving import Saver
from arcface_trainer.checkpoint.state import Verifications
from support.builders.saved_states import CLASSES, EMBEDDING, PLAN, ArrayState, flip_the_last_bit, make_writer
from support.builders.training_plan import make_plan
from support.fakes.rank_threads import run_ranks

RANKS, PER_POD = 4, 2
GANG = replace(PLAN, world_size=RANKS)
SIZES = (64, 48)


class Rank:
    """One rank of a gang of two pods, which keeps states in memory and saves checkpoints."""

    def __init__(self, world, folder, plan=GANG) -> None:
        self.world, self.plan = world, plan
        pod = folder / f"pod-{world.rank // PER_POD}"
        pod.mkdir(exist_ok=True, parents=True)
        self.memory = pod_memory.PodMemory.of(pod, plan, world, PER_POD, SIZES)
        self.saver = Saver(replace(make_writer(folder / "volume", world), plan=plan))
        if world.is_first:
            self.saver.writer.prepare()
        world.all_gather([0])

    def keep(self, *steps):
        for step in steps:
            self._save(step, self.memory.holder, self.memory)

    def save(self, step):
        self._save(step, 0, None)

    def _save(self, step, holder, memory):
        classes = checkpoint.class_range(CLASSES, self.world.size, self.world.rank)
        writer = self.saver.writer
        found = writer.snapshot(ArrayState(float(step), classes), step, Verifications(), None, holder)
        self.saver.begin(found, memory)
        assert self.saver.finish().failure is None

    def resumed(self, plan=None):
        """The step that a rank started again goes on from, with the first weight and its first class."""
        memory, state = replace(self.memory, plan=plan or self.plan), _Loaded()
        found = resume.resume(state, self.saver.writer.directory, memory.plan, self.world, memory=memory)
        memory.keep_only(None if found is None else found.step)
        return None if found is None else (found.step, state.weight, state.first_center)

    def folder(self, step):
        return self.memory.folders(step)[0]


class _Loaded:
    def load(self, backbone, _momentum, head, source):
        self.weight, self.first_center, self.source = backbone["stem.weight"][0, 0], head["centers"][0, 0], source

    def load_loss_scale(self, _saved):
        pass


def in_gang(folder, act, plan=GANG, ranks=RANKS):
    return run_ranks(ranks, lambda world: act(Rank(world, folder, plan)))


def first_centers(ranks=RANKS):
    return [float(checkpoint.class_range(CLASSES, ranks, rank).start * EMBEDDING) for rank in range(ranks)]


def test_ranks_go_on_from_the_newest_state_that_every_rank_has(tmp_path):
    def kept(rank):
        rank.keep(4, 8)
        if rank.world.rank == 3:
            shutil.rmtree(rank.folder(8))  # it was killed before it had all of it

    in_gang(tmp_path, kept)
    assert in_gang(tmp_path, Rank.resumed) == [(4, 4.0, center) for center in first_centers()]


def test_what_a_start_does_not_go_on_from_is_gone(tmp_path):
    in_gang(tmp_path, lambda rank: (rank.keep(4, 8), rank.world.rank == 3 and shutil.rmtree(rank.folder(8))))
    in_gang(tmp_path, Rank.resumed)
    assert sorted({path.name for path in tmp_path.glob("pod-*/rank-*/step-*")}) == [checkpoint.folder_name(4)]


def test_there_are_never_more_than_two_and_the_last_that_all_have_stays_until_they_have_another(tmp_path, monkeypatch):
    seen, write = [], pod_memory.files.write_tensors

    def watched(path, tensors):
        seen.append(sorted(folder.name for folder in path.parents[1].iterdir()))
        return write(path, tensors)

    monkeypatch.setattr(pod_memory.files, "write_tensors", watched)
    one = replace(PLAN, world_size=1)
    in_gang(tmp_path, lambda rank: rank.keep(4, 8, 12), one, 1)
    names = [[".step-00000004"], [".step-00000008", "step-00000004"], [".step-00000012", "step-00000008"]]
    assert [seen[number] for number in (0, 3, 6)] == names
    assert in_gang(tmp_path, lambda rank: rank.memory.steps(), one, 1) == [[12, 8]]


@pytest.mark.parametrize(("saved", "newest"), [(6, 8), (8, 8), (12, 12)])
def test_the_newest_state_counts_wherever_it_lies(tmp_path, saved, newest):
    in_gang(tmp_path, lambda rank: (rank.keep(4, 8), rank.save(saved)))
    assert {step for step, _, _ in in_gang(tmp_path, Rank.resumed)} == {newest}


DAMAGES = [checkpoint.MANIFEST_FILE, checkpoint.BACKBONE_FILE, checkpoint.MOMENTUM_FILE, "head-000000003.safetensors"]


@pytest.mark.parametrize("name", DAMAGES)
@pytest.mark.parametrize("damage", [flip_the_last_bit, lambda path: path.write_bytes(path.read_bytes()[:-9])])
def test_a_damaged_one_is_passed_over_by_all_ranks(tmp_path, name, damage):
    in_gang(tmp_path, lambda rank: (rank.save(2), rank.keep(4, 8)))
    for number, path in enumerate(sorted(tmp_path.glob(f"pod-*/rank-*/step-00000008/{name}"))):
        if number == 0:
            damage(path)
    assert in_gang(tmp_path, Rank.resumed) == [(4, 4.0, center) for center in first_centers()]


OTHERS = [
    {"spec_hash": "b" * 64},
    {"content_fingerprint": "e" * 64},
    {"image_count": 49},
    {"total_batch_size": 8},
]


@pytest.mark.parametrize("facts", OTHERS, ids=str)
def test_a_state_of_another_run_is_never_gone_on_from(tmp_path, facts):
    in_gang(tmp_path, lambda rank: rank.keep(4))
    assert in_gang(tmp_path, lambda rank: rank.resumed(replace(GANG, **facts))) == [None] * RANKS


def test_a_state_of_another_world_size_is_never_gone_on_from(tmp_path):
    in_gang(tmp_path, lambda rank: rank.keep(4))
    assert in_gang(tmp_path, Rank.resumed, replace(GANG, world_size=2), 2) == [None, None]


def test_a_pod_with_too_little_memory_has_no_rank_keep_any(tmp_path, caplog):
    def memory(world):
        sizes = (2**50, 0) if world.rank == 2 else SIZES
        return pod_memory.PodMemory.of(tmp_path, GANG, world, PER_POD, sizes)

    with caplog.at_level(logging.INFO):
        assert run_ranks(RANKS, memory) == [None] * RANKS
    assert "no states are kept in memory: the pod of rank 2 has" in caplog.text


def test_a_pod_without_shared_memory_has_no_rank_keep_any(tmp_path):
    folders = [tmp_path, tmp_path, None, None]
    plan = make_plan(model=ModelSpec(), world_size=RANKS)
    memories = run_ranks(RANKS, lambda world: pod_memory.PodMemory.of(folders[world.rank], plan, world, PER_POD, SIZES))
    assert memories == [None] * RANKS


def test_what_is_kept_is_what_a_checkpoint_of_that_step_holds(tmp_path):
    in_gang(tmp_path, lambda rank: (rank.keep(4), rank.save(4)))
    volume = tmp_path / "volume" / checkpoint.folder_name(4)
    for entry in checkpoint.read_manifest(volume).files:
        copies = list(tmp_path.glob(f"pod-*/rank-*/step-00000004/{entry.name}"))
        assert len(copies) == (1 if entry.name.startswith("head-") else RANKS // PER_POD)
        assert {np.frombuffer(copy.read_bytes(), np.uint8).tobytes() for copy in copies} == {
            (volume / entry.name).read_bytes()
        }


def test_a_later_launch_has_as_much_room_as_the_first_which_took_it(tmp_path, monkeypatch):
    # 2 x (1000 + 500) bytes are wanted of twice as many that were free before the states lay there.
    one, states = replace(PLAN, world_size=1), tmp_path / "rank-0"
    free = 8 * 1024
    for taken in (0, 3000):
        states.mkdir(exist_ok=True)
        (states / "head").write_bytes(bytes(taken))
        monkeypatch.setattr(pod_memory, "free_bytes", lambda _, left=free - taken: left)
        assert run_ranks(1, lambda world: pod_memory.PodMemory.of(tmp_path, one, world, 1, (1000, 500))) != [None]
