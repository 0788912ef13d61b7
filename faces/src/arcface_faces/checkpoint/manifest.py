"""What a checkpoint says about itself: `manifest.json` in its folder."""

from datetime import datetime
from typing import Final, Literal

from pydantic import Field

from arcface_api.model import Model
from arcface_api.resource.spec import ModelSpec
from arcface_api.resource.status import Verification
from arcface_faces.images.face_input import OWN_PREPROCESSING, Preprocessing

MANIFEST_FILE = "manifest.json"
FORMAT: Final = "arcface-checkpoint/1"

Sha256 = str


class TensorEntry(Model):
    """Shape and type of a stored tensor."""

    shape: list[int]
    """Extents."""
    dtype: Literal["float32"] = "float32"
    """Element type."""


class FileEntry(Model):
    """A safetensors file of the checkpoint."""

    name: str = Field(pattern=r"^[a-z0-9-]+\.safetensors$")
    """File name within the folder."""
    size: int = Field(ge=0)
    """Bytes."""
    sha256: Sha256 = Field(pattern=r"^[0-9a-f]{64}$")
    """Hash of the file."""
    first_class: int | None = Field(default=None, ge=0)
    """First class whose centre the file holds; absent for files of the backbone."""
    tensors: dict[str, TensorEntry]
    """Tensors by name."""

    @property
    def class_count(self) -> int:
        """Classes whose centres the file holds."""
        return self.tensors["centers"].shape[0] if "centers" in self.tensors else 0


class CheckpointManifest(Model):
    """One checkpoint: everything needed to go on with the training or to use the network."""

    format: Literal["arcface-checkpoint/1"] = FORMAT
    """Version of this layout."""
    job: str
    """Name of the job."""
    spec_hash: Sha256 = Field(pattern=r"^[0-9a-f]{64}$")
    """Hash of what decides the weights."""
    step: int = Field(ge=0)
    """Updates made; with seed and total batch this is also the position in the data and in the schedule."""
    total_steps: int = Field(ge=1)
    """Updates of the whole training."""
    epoch: int = Field(ge=0)
    """Epochs completed."""
    total_batch_size: int = Field(ge=1)
    """Images per update over all ranks."""
    world_size: int = Field(ge=1)
    """Ranks that wrote it; another number may read it."""
    seed: int = Field(ge=0)
    """Seed of the data order."""
    image_count: int = Field(ge=1)
    """Images of the training set."""
    class_count: int = Field(ge=1)
    """Identities of the training set."""
    saved_at: datetime
    """When it was written."""
    verification: Verification | None = None
    """Last verification of the training so far."""
    best: Verification | None = None
    """The best one, which names by its step the checkpoint that is kept beside the newest ones."""
    model: ModelSpec
    """The network."""
    preprocessing: Preprocessing = OWN_PREPROCESSING
    """The network's input."""
    files: list[FileEntry]
    """Tensors: `backbone` (weights), `momentum` (its optimizer state) and `head-<first class>` (centres, momentum)."""
