"""Which changes of status have to be written at once: figures of a running job may wait for each other."""

from arcface_api.status import ArcFaceTrainingJobStatus

FIGURES = {"progress": None, "workers": None, "rank_table": None, "checkpoint": None}


def is_urgent(old: ArcFaceTrainingJobStatus, new: ArcFaceTrainingJobStatus) -> bool:
    """Whether something other than figures has changed."""
    return old.model_copy(update=FIGURES) != new.model_copy(update=FIGURES)
