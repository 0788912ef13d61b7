"""Run by every rank of test_going_back: trainings in which one rank loses its numbers in passing, then twice for long.

`going_back_of_a_rank.py FOLDER COURSE...`: each COURSE is the name of a folder in FOLDER with a `run.json`, in which
the ranks leave their reports, exit statuses, and a line for each step that they launch. Its name tells by what the last
rank loses its numbers the first and the second time. Trainings behind the first one go on from its checkpoint of
`BEGUN` updates. All of them run on one compiled step, whose state is the checkpoint's each time.

Numbers are lost as a card may lose them: the derivative of the head gives none (`gradient`), or what the rank alone
holds is none any more, its running statistics (`statistics`) or its class centres (`loss`).
"""

import hashlib
import os
import shutil
import sys
from functools import partial
from pathlib import Path

import numpy as np
from mindspore import Parameter, Tensor, float32, nn

from arcface_faces import checkpoint
from arcface_trainer.network import backbones
from arcface_trainer.training import rank as rank_process
from support.small_step import SmallBackbone
from support.waiting import wait_until

PASSING = {3: "gradient", 4: "loss", 5: "statistics"}
"""Updates before the steps in which the last rank has no numbers, and has them again afterwards."""
BEGUN = 12
FIRST, SECOND = 19, 31
"""Updates before the steps from which on it has none until the training goes back."""


class Head(nn.Cell):
    """A classifier whose derivative for the embeddings is multiplied by a number."""

    def __init__(self, classifier) -> None:
        super().__init__()
        self.classifier, self.centers = classifier, classifier.centers
        self.factor = Parameter(Tensor(1.0, float32), name="factor", requires_grad=False)

    def construct(self, embeddings, labels):
        loss, d_embeddings, d_centers = self.classifier(embeddings, labels)
        return loss, d_embeddings * self.factor, d_centers


class Course:
    """What befalls one training on this rank, and what it tells of its steps."""

    def __init__(self, loop, folder: Path, *, is_losing: bool) -> None:
        self.loop, self.step, self.is_losing = loop, loop.train_step, is_losing
        self.places = {
            "gradient": self.step.gradient_step.classifier.factor,
            "statistics": self.step.statistics.kept,
            "loss": self.step.gradient_step.classifier.centers,
        }
        self.lasting = dict(zip((FIRST, SECOND), folder.name.split("-"), strict=True))
        self.last, self.ids, self.launched = FIRST + SECOND, [], []
        self.take, self.launch = loop.loader.take, partial(type(self.step).launch, self.step)
        loop.loader.take, self.step.launch = self.take_and_note, self.launch_and_note

    def take_and_note(self, number: int):
        saver, share = self.loop.checkpointing.saver, self.loop.loader.sampler.batch(number)
        if saver.is_busy:
            wait_until(saver._stage.work.done, seconds=60)  # else a slow disk would leave saves out
        self.ids = share.indices[share.is_image].tolist()
        return self.take(number)

    def launch_and_note(self, images, labels, rate, *given, step: int):
        noted = [step, repr(rate), *self.digests(), ",".join(map(str, self.ids))]
        if step < self.last:  # it begins or has gone back: all else is the state's, which has been loaded
            self.places["gradient"].set_data(Tensor(1.0, float32))
        self.last, passing = step, PASSING.get(step)
        kind = passing or self.lasting.pop(step, None)
        before = self.lose(self.places[kind]) if kind and self.is_losing else None
        result = self.launch(images, labels, rate, *given, step=step)
        if passing and before is not None:
            self.places[passing].set_data(before)
        self.launched.append((noted, result))
        return result

    def lose(self, place: Parameter) -> Tensor:
        """Have NaN there; returns what was."""
        before = place.asnumpy().copy()
        place.set_data(Tensor(np.full(place.shape, np.nan, np.float32)))
        return Tensor(before)

    def digests(self) -> tuple[str, str]:
        """Of what all ranks have alike, weights and momentum, and of what this rank alone has."""
        shared, own = hashlib.sha256(), hashlib.sha256(self.step.statistics.host_vector())
        *backbone, centers = self.step.update.groups
        for digest, groups in ((shared, backbone), (own, [centers])):
            for group in groups:
                for each in (*group.weights.parameters, group.velocity):
                    digest.update(each.asnumpy())
        return shared.hexdigest()[:16], own.hexdigest()[:16]

    def lines(self) -> str:
        """Each step that was launched, and what came of it."""
        told = ""
        for noted, result in self.launched:
            fault = "" if result.result().is_applied else result.result().fault
            told += "\t".join([*map(str, noted), str(fault)]) + "\n"
        return told


def main(folder: Path, names: list[str]) -> None:
    size, rank = int(os.environ["MS_WORKER_NUM"]), int(os.environ["MS_NODE_ID"])
    rank_process.init_distributed = made_once(rank_process.init_distributed)
    rank_process.build_train_step = made_once(with_head(rank_process.build_train_step))
    backbones.build_backbone = lambda *_: SmallBackbone(is_frozen=False)
    build = rank_process.build_training_loop
    begun = folder / names[0] / "checkpoints" / checkpoint.folder_name(BEGUN)
    for name in names:
        course: list[Course] = []

        def build_and_spoil(*given, name=name, course=course):
            course.append(Course(build(*given), folder / name, is_losing=rank == size - 1))
            return course[0].loop

        if rank == 0 and name != names[0]:
            shutil.copytree(begun, folder / name / "checkpoints" / begun.name)
        rank_process.build_training_loop = build_and_spoil
        status = rank_process._main(folder / name / "run.json", folder / name / f"{rank}.json", rank)
        (folder / name / f"{rank}.status").write_text(str(status))
        (folder / name / f"{rank}.steps").write_text(course[0].lines())
    leave_together(folder, size, rank)


def made_once(build):
    """The same for all trainings."""
    made = []

    def build_or_take(*given):
        if not made:
            made.append(build(*given))
        return made[0]

    return build_or_take


def with_head(build):
    def build_with_head(*given):
        step = build(*given)
        step.gradient_step.classifier = Head(step.gradient_step.classifier)
        return step

    return build_with_head


def leave_together(folder: Path, size: int, rank: int) -> None:
    """Leave when no rank needs another one any more, and not through MindSpore's teardown."""
    (folder / f"{rank}.done").touch()
    wait_until(lambda: len(list(folder.glob("*.done"))) == size, seconds=60)
    os._exit(0)


main(Path(sys.argv[1]), sys.argv[2:])
