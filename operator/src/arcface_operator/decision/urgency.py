"""Which changes of status have to be written at once: figures of a running job may wait for each other."""

from arcface_api.resource.status import ArcFaceTrainingJobStatus

FIGURES = {"progress": None, "workers": None, "rank_table": None, "checkpoint": None}


def is_urgent(old: ArcFaceTrainingJobStatus, new: ArcFaceTrainingJobStatus) -> bool:
    """Whether something other than figures and the wording of conditions has changed."""
    return essence(old) != essence(new)


def essence(status: ArcFaceTrainingJobStatus) -> ArcFaceTrainingJobStatus:
    """The status without what may wait."""
    conditions = [condition.model_copy(update={"message": ""}) for condition in status.conditions]
    return status.model_copy(update={**FIGURES, "conditions": conditions})


def blames_training(old: ArcFaceTrainingJobStatus, new: ArcFaceTrainingJobStatus) -> bool:
    """Whether a change counts a fault against the training, or ends the job because there were too many."""
    is_given_up = new.phase == "Failed" != old.phase and new.failure is not None
    return new.counted_restarts > old.counted_restarts or is_given_up
