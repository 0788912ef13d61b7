"""Beginning with the weights of another training's checkpoint instead of fresh ones.

The network must have the same shape. The head is kept where the identities are those that it knows. Counts do not
tell: two sets drawn by one program have as many identities and images, and a set grows while its identities stay. So
the network itself is asked: of as many classes, most images of a sample must be nearer to the centre of their own class
than to those of others. Elsewhere the head begins with the means of the classes' embeddings. Momentum begins at zero.
"""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from arcface_api.architectures import misfit
from arcface_api.contract.run_config import RunConfig
from arcface_api.errors import InvalidInput
from arcface_faces import checkpoint
from arcface_faces.datasets.dataset import FaceDataset
from arcface_faces.embedding.embedder import Network
from arcface_trainer.checkpoint.state import TrainingState
from arcface_trainer.distributed.collectives import World
from arcface_trainer.head.class_means import class_means
from arcface_trainer.network import backbones, layers
from arcface_trainer.plan import TrainingPlan

LOG = logging.getLogger(__name__)
FIELD = "spec.model.initFrom"
SAMPLED_CLASSES = 256
"""Of each rank, with an image each. Images of others would find their own centre among them once in 256 times."""


@dataclass(frozen=True, slots=True)
class FineTuning:
    """Where the weights are, and what they are to go on with."""

    directory: Path
    """A checkpoint, or a folder of checkpoints."""
    plan: TrainingPlan
    faces: FaceDataset
    batch_size: int
    """Images that the network takes at once."""
    world: World

    @classmethod
    def of(cls, config: RunConfig, plan: TrainingPlan, faces: FaceDataset, world: World) -> Self | None:
        """What a run is to begin with; None where its weights are fresh."""
        if config.init_directory is None:
            return None
        return cls(Path(config.init_directory), plan, faces, config.training.micro_batch_size, world)

    def begin(self, state: TrainingState) -> checkpoint.SourceCheckpoint:
        """Fill a state with the weights; all ranks call together.

        Raises:
            InvalidInput: where the checkpoint is missing, damaged or of another network.
            ArcFaceError: where it cannot be read now but may be later.
        """
        try:
            folder, manifest = self._find()
            backbone = checkpoint.read_file(folder, manifest, checkpoint.BACKBONE_FILE)
            kept, centers = self._centers(folder, manifest, self._network(backbone, folder), state.head()["centers"])
            state.begin_with(backbone, centers, str(folder))
        except InvalidInput as error:
            raise InvalidInput(f"{FIELD}: {error}") from None
        source = checkpoint.SourceCheckpoint(
            job=manifest.job,
            step=manifest.step,
            sha256=checkpoint.manifest_sha256(folder),
            head="kept" if kept else "means",
        )
        LOG.info("fine-tuning folder=%s step=%d head=%s", folder, source.step, source.head)
        return source

    def _find(self) -> tuple[Path, checkpoint.CheckpointManifest]:
        """The checkpoint that rank 0 takes: others may look when a newer one is there already.

        All must see the same: volumes of nodes with a copy each may differ.
        """
        own = checkpoint.checkpoint_folder(self.directory)
        own_step = checkpoint.step_of(own)
        step = int(self.world.all_gather([own_step])[0, 0])
        folder = own if step == own_step else self.directory / checkpoint.folder_name(step)
        manifest = checkpoint.read_manifest(folder)
        words = np.frombuffer(bytes.fromhex(checkpoint.manifest_sha256(folder)), ">i4").astype(int).tolist()
        rows = self.world.all_gather(words)
        if (rows != rows[0]).any():
            raise InvalidInput(f"{folder}: the ranks see different checkpoints there: give all nodes the same volume")
        if (difference := misfit(self.plan.model, manifest.model)) is not None:
            raise InvalidInput(f"{folder} is of another network: {difference}: write the same, or name another one")
        return folder, manifest

    def _network(self, weights: checkpoint.Tensors, folder: Path) -> Network:
        """The network as it was trained, beside the one that goes on learning."""
        backbone = backbones.build_backbone(self.plan.model, layers.trunk_cast(self.plan.precision, self.world.chip))
        backbones.assign(backbones.named_parameters(backbone), weights, str(folder))
        return backbones.as_function(backbone)

    def _centers(
        self, folder: Path, manifest: checkpoint.CheckpointManifest, network: Network, fresh: NDArray[np.float32]
    ) -> tuple[bool, NDArray[np.float32]]:
        """Whether the checkpoint's centres are kept, and this rank's to begin with, (C, D)."""
        plan, world = self.plan, self.world
        classes = checkpoint.class_range(plan.class_count, world.size, world.rank)
        if manifest.class_count == plan.class_count:
            stored = checkpoint.read_head(folder, manifest, classes)["centers"]
            if self._are_known(classes, stored, network):
                return True, stored
        return False, class_means(self.faces, classes, network, self.batch_size, fresh)

    def _are_known(self, classes: checkpoint.ClassRange, stored: NDArray[np.float32], network: Network) -> bool:
        """Whether the identities are those that the centres were learnt for, over all ranks."""
        sample = checkpoint.ClassRange(classes.start, min(classes.size, SAMPLED_CLASSES))
        centers = stored[: sample.size]
        images = class_means(self.faces, sample, network, self.batch_size, np.zeros_like(centers), most_images=1)
        nearest = (images @ (centers / np.linalg.norm(centers, axis=1, keepdims=True)).T).argmax(axis=1)
        hits = int((nearest == np.arange(sample.size)).sum())
        # An only class is the nearest one to any image.
        told = [hits, sample.size] if sample.size > 1 else [0, 0]
        right, asked = self.world.all_gather(told).sum(axis=0).tolist()
        return bool(2 * right > asked)
