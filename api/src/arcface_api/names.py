"""Names that other tools see: the resource, labels, files and ports (the contract in one place)."""

from typing import Final

GROUP: Final = "arcface.io"
VERSION: Final = "v1alpha1"
KIND: Final = "ArcFaceTrainingJob"
PLURAL = "arcfacetrainingjobs"
SINGULAR = "arcfacetrainingjob"
SHORT_NAMES = ("arcfacejobs", "arcfacejob", "afj")
API_VERSION: Final = "arcface.io/v1alpha1"

METRICS_PORT = 9400
TERMINATION_MESSAGE_LIMIT = 4096
"""Bytes of a container's termination message that Kubernetes keeps."""

ASCEND_910 = "huawei.com/Ascend910"
"""Extended resource that the Ascend device plugin registers for 910 cards."""
RELEASES = "IJB_release"
"""Folder below an evaluation's path that holds IJBB and IJBC, as in the archives that they come in."""
