"""What the pods of a job are told: one JSON file, written by the operator and parsed here by both sides.

Everything the trainer needs, with all defaults filled in and claims turned into folders; the rank identity comes by
environment.
"""

from pathlib import Path, PurePosixPath
from typing import Literal, Self

from pydantic import Field, JsonValue, model_validator

from arcface_api.contract.pod_environment import METRICS_PORT
from arcface_api.errors import explained
from arcface_api.model import Model
from arcface_api.resource import spec as api

UNPUBLISHED = ".writing-"
"""How the folder of checkpoints begins that are not published yet."""
SCHEMA_VERSION = 1
"""Of the run configuration; it rises where an older reader would take it for something else, not with new fields."""


class RunData(Model):
    """The training images as the pods see them."""

    directory: str
    """Folder with train.rec, train.idx and property, or an image folder."""
    min_images_per_identity: int = Field(ge=1)
    """Identities with fewer images are left out."""
    augmentation: Literal["none", "flip", "strong"]
    """Random changes of an image."""
    shuffle_window: int | None = Field(default=None, ge=1)
    """Images that are shuffled with each other; absent means all."""


class RunCheckpoint(Model):
    """Where and when to keep the state."""

    directory: str
    """Folder of this job's checkpoints."""
    path: str = ""
    """The same folder relative to its claim, which status and reports name checkpoints by."""
    every_steps: int = Field(ge=1)
    """Steps between checkpoints."""
    every_minutes: int | None = Field(default=None, ge=1)
    """Also save after this time."""
    keep_last: int = Field(ge=1)
    """Complete checkpoints to keep."""
    mirror_mebibytes: int | None = Field(default=None, ge=0)
    """Memory of a pod for copies of another pod's class centres; absent: a share of what is free; 0: none."""

    def unpublished(self, job_uid: str | None, attempt: int, launch: int) -> Path:
        """Folder of what the ranks of a launch have not published yet.

        Those of the next one move it away before they look for a checkpoint.
        """
        job = "" if job_uid is None else f"{job_uid}-"
        again = f".{launch}" if launch else ""
        return Path(self.directory) / f"{UNPUBLISHED}{job}{attempt}{again}"

    def path_of(self, folder: Path) -> str:
        """Path relative to the claim of a checkpoint's folder in (or at) `directory`."""
        return (PurePosixPath(self.path) / folder.relative_to(self.directory)).as_posix()


class RunRanks(Model):
    """The gang of ranks."""

    world_size: int = Field(ge=1)
    """Ranks over all pods of this attempt."""
    full_world_size: int | None = Field(default=None, ge=1)
    """Ranks when no pod is lost, by which the total batch goes; absent: all of them are there."""
    per_pod: int = Field(ge=1)
    """Ranks in each pod."""
    accelerator: api.Accelerator
    """Device that the ranks compute on."""
    rendezvous: api.Rendezvous
    """How ranks find each other."""

    def total_batch_size(self, batch_size: int) -> int:
        """Images per update, of which each rank takes `batch_size` when all ranks are there."""
        return batch_size * (self.full_world_size or self.world_size)


class RunEvaluation(Model):
    """The verification sets as the pods see them."""

    directory: str
    """Folder with the `.bin` files."""
    sets: list[str]
    """Pair sets, each the file `<name>.bin`."""
    ijb: list[str] = []
    """Template sets, each the folder `IJB_release/<name>`."""
    every_epochs: int | None = Field(default=None, ge=1)
    """Epochs between verifications during the training; absent means none."""
    gates: list[api.GateSpec] = []
    """Figures to reach."""


class RunConfig(Model):
    """One attempt of one job, written once."""

    schema_version: int = SCHEMA_VERSION
    """Version of this document."""
    job: str
    """Name of the job."""
    namespace: str
    """Namespace of the job."""
    attempt: int = Field(default=0, ge=0)
    """Attempt that it was written for."""
    image: str | None = None
    """Image of the pods, with the default filled in; absent where they are processes of one machine."""
    spec_hash: str = Field(pattern=r"^[0-9a-f]{64}$")
    """`spec_hash` of the job; a checkpoint that has no recipe and another hash is not resumed."""
    recipe: dict[str, JsonValue] | None = None
    """What decides the weights, by name; a checkpoint with another one is not resumed. Earlier releases write none."""
    model: api.ModelSpec
    """The network."""
    init_directory: str | None = None
    """Folder of the checkpoint, or checkpoints, that model.initFrom names; absent where weights are fresh."""
    loss: api.LossSpec
    """The loss."""
    data: RunData
    """The training images."""
    training: api.TrainingSpec
    """The optimisation, with learning rate and precision filled in."""
    ranks: RunRanks
    """The gang of ranks."""
    checkpoint: RunCheckpoint
    """Checkpoints."""
    evaluation: RunEvaluation | None = None
    """Evaluation after training."""
    stall_seconds: int = Field(default=1800, ge=1)
    """Time without progress after which the operator restarts the gang; pods end a rank that stands still before."""
    metrics_port: int = Field(default=METRICS_PORT, ge=0, le=65535)
    """Port of /metrics of a pod's first rank; the next ranks take the next ports; 0 takes any free one."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.schema_version > SCHEMA_VERSION:
            later = f"schemaVersion: {self.schema_version} is later than the {SCHEMA_VERSION} that this image reads"
            raise ValueError(f"{later}; set spec.image to one of the operator's release")
        return self

    @classmethod
    def read(cls, path: Path) -> Self:
        """The configuration in a file that the operator wrote; InvalidInput, naming the field, where it is none."""
        with explained(path, "cannot be read", "the operator mounts it"):
            text = path.read_bytes()
        return cls.from_ours(text, str(path))

    @property
    def learning_rate(self) -> float:
        """Learning rate at the total batch; the writer has filled it in."""
        rate = self.training.optimizer.learning_rate
        if rate is None:
            raise ValueError("training.optimizer.learningRate must be filled in")
        return rate

    @property
    def precision(self) -> api.Precision:
        """Precision of the backbone; float32 where nothing else was written."""
        return self.training.precision or "fp32"
