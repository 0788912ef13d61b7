"""The course of a training as a file beside the checkpoints: a line of JSON for some steps, or for a verification.

Each step of a stretch is in one line of figures, which begins behind the line before, and none reaches over the step
of a saved state: whichever of them a later stretch goes on from, no step is missing and none is there twice.

Lines are appended and never changed. Each process that trains begins a stretch, whose first line tells the step it goes
on from: what earlier stretches wrote of later steps was computed anew, and readers pass it over, also where a gang that
was taken for lost went on writing. They pass over as well what is cut short (a process was killed, a disk was full),
and fields that newer releases add.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Self

from pydantic import AwareDatetime, Field, ValidationError, model_validator

from arcface_api.errors import InvalidInput, explained
from arcface_api.model import Model
from arcface_api.resource.status import SIX_DIGITS, Number, Verification

HISTORY_FILE = "history.jsonl"
"""In the folder of a job's checkpoints."""
Rounded = Annotated[float, SIX_DIGITS]
"""What was measured, without bounds: an odd figure is told, too."""


class StretchStart(Model):
    """What a stretch of the training is, told by its first line."""

    job: str
    """Name of the job."""
    attempt: int | None = Field(default=None, ge=0)
    """Attempt of the job."""
    world_size: int = Field(ge=1)
    """Ranks."""
    total_batch_size: int = Field(ge=1)
    """Images per update over all ranks."""
    steps_per_epoch: int = Field(ge=1)
    """Updates of an epoch."""
    total_steps: int = Field(ge=1)
    """Updates of the whole training."""


class HistoryLine(Model):
    """Where the training stood at one moment: a stretch began, figures of the last steps, or a verification."""

    stretch: str = Field(min_length=1)
    """Which stretch wrote it."""
    at: AwareDatetime
    """When."""
    step: Number
    """Updates made."""
    epoch: Annotated[float, Field(ge=0, le=2**31), SIX_DIGITS]
    """Epochs made, with the part of the one under way."""
    start: StretchStart | None = None
    """In the first line of a stretch, which goes on from `step`."""
    steps: int | None = Field(default=None, ge=0)
    """How many steps up to `step` the figures are over; absent from what older releases wrote, where it is 20."""
    loss: Rounded | None = None
    """Mean loss over these steps."""
    learning_rate: float | None = None
    """Of the last step."""
    images_per_second: Rounded | None = None
    """Images per second over all ranks."""
    step_milliseconds: Rounded | None = None
    """Mean time of a step."""
    data_wait_percent: Rounded | None = None
    """Share of the time that the rank waited for images which waited longest."""
    loss_scale: float | None = None
    """Factor on the loss before differentiation; absent where the precision needs none."""
    embedding_norm: Rounded | None = None
    """Mean length of rank 0's embeddings in the last step."""
    not_finite: list[str] | None = None
    """Figures, by their names here, that were no finite numbers in some step; absent where that holds of all."""
    verification: Verification | None = None
    """Pair sets judged after `step`."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.verification is not None and not self.verification.results:
            raise ValueError("a verification without a set")
        return self

    @classmethod
    def parse(cls, text: bytes) -> Self | None:
        """A line; None where it is cut short or something else."""
        try:
            return cls.model_validate_json(text, extra="ignore")
        except ValidationError:
            return None


@dataclass(frozen=True, slots=True)
class History:
    """One training from its first step to its last so far, whatever number of times it was started."""

    starts: Sequence[HistoryLine]
    """First lines of all stretches."""
    lines: Sequence[HistoryLine]
    """Those that hold, by step."""
    unreadable: int
    """Lines that are cut short or something else."""
    file: Path | None = None
    """What it was read from."""

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read the file, or that in a folder of checkpoints.

        Raises:
            InvalidInput: where there is none, or no line of it can be read.
            ArcFaceError: where it cannot be read now, but may be later.
        """
        with explained(path, "cannot be looked for", "correct the path"):
            file = path / HISTORY_FILE if path.is_dir() else path
            if not file.is_file():
                raise InvalidInput(f"{file}: is not there; give a folder of checkpoints of a training by this release")
        with explained(file, "cannot be read", "mend its rights"):
            history = replace(cls.of(file.read_bytes().split(b"\n")), file=file)
        if not history.lines:
            raise InvalidInput(f"{file}: holds no line of a training's history; give another file")
        return history

    @classmethod
    def of(cls, texts: Iterable[bytes]) -> Self:
        """Join the lines of all stretches; one that was written twice, since a disk failed between, counts once."""
        parsed = [HistoryLine.parse(text) for text in dict.fromkeys(texts) if text.strip()]
        lines = [line for line in parsed if line is not None]
        starts = [line for line in lines if line.start is not None]
        return cls(starts, _joined(lines), unreadable=len(parsed) - len(lines))

    @property
    def figures(self) -> list[HistoryLine]:
        """Lines that tell of steps."""
        return [line for line in self.lines if line.learning_rate is not None]

    @property
    def verifications(self) -> list[Verification]:
        """The last one of each network that was judged, by step."""
        return list({line.step: line.verification for line in self.lines if line.verification is not None}.values())

    @property
    def start(self) -> StretchStart | None:
        """What the newest stretch is; None where no first line was readable."""
        return self.starts[-1].start if self.starts else None


def _joined(lines: Iterable[HistoryLine]) -> list[HistoryLine]:
    """The lines of all stretches in the order in which these began, without what a later one computed anew."""
    stretches: dict[str, list[HistoryLine]] = {}
    for line in lines:
        stretches.setdefault(line.stretch, []).append(line)
    joined: list[HistoryLine] = []
    for stretch in stretches.values():
        joined = [line for line in joined if line.step <= stretch[0].step] + stretch
    return joined
