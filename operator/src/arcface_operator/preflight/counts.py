"""How much there is to train on, and whether it is enough for a job."""

from dataclasses import dataclass

from arcface_api.errors import InvalidInput
from arcface_api.resource.spec import ArcFaceTrainingJobSpec


@dataclass(frozen=True)
class Counts:
    """Size of a training set."""

    identities: int
    images: int


def steps_per_epoch(spec: ArcFaceTrainingJobSpec, counts: Counts) -> int:
    """Full batches in an epoch, the remainder is left out; InvalidInput where the images do not do for the job."""
    if counts.identities < 2:
        raise InvalidInput(
            f"spec.data: {counts.identities} identities with at least {spec.data.min_images_per_identity} images; "
            "a classifier needs 2: lower spec.data.minImagesPerIdentity or add identities"
        )
    if counts.identities < spec.workers.world_size:
        raise InvalidInput(
            f"spec.workers: {spec.workers.world_size} ranks share {counts.identities} identities and each needs one: "
            "lower spec.workers.replicas or devicesPerWorker, or add identities"
        )
    if counts.images < spec.total_batch_size:
        raise InvalidInput(
            f"spec.data: {counts.images} images do not fill one batch of {spec.total_batch_size} over all ranks: "
            "lower spec.training.batchSize or the number of ranks, or add images"
        )
    return counts.images // spec.total_batch_size
