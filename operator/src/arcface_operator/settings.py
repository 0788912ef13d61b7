"""What the operator's administrator decides for all jobs."""

from pydantic import Field

from arcface_api.model import Model


class Settings(Model):
    """Defaults for what a job leaves open."""

    trainer_image: str = Field(default="arcface-trainer:0.1.0", min_length=1)
    """Image of pods whose job names none."""
    termination_grace_seconds: int = Field(default=120, ge=1)
    """Time a pod has to save a checkpoint when it is asked to stop."""
