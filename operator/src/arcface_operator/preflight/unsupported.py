"""What a job asks for and this release does not do yet."""

from arcface_api.resource.spec import ArcFaceTrainingJobSpec
from arcface_api.unsupported import unsupported_training


def unsupported(spec: ArcFaceTrainingJobSpec) -> list[str]:
    """One sentence for each such field, with its path in the job."""
    found = unsupported_training(spec.model, spec.loss, spec.training, spec.precision)
    return [f"spec.{sentence}" for sentence in found]
