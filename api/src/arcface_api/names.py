"""Names that other tools see: of the resource, of devices, of figures, of archives; and the lines of logs."""

from typing import Final

GROUP: Final = "arcface.io"
VERSION: Final = "v1alpha1"
KIND: Final = "ArcFaceTrainingJob"
PLURAL = "arcfacetrainingjobs"
SINGULAR = "arcfacetrainingjob"
SHORT_NAMES = ("arcfacejobs", "arcfacejob", "afj")
API_VERSION: Final = "arcface.io/v1alpha1"

ASCEND_910 = "huawei.com/Ascend910"
"""Extended resource that the Ascend device plugin registers for 910 cards."""
ASCEND_NPU = "huawei.com/npu"
"""The same for cards of A5 (950)."""
ACCELERATOR_TYPE = "accelerator-type"
"""Label of a node with the kind of its machine (MindCluster, docs/en/scheduling/api/k8s.md, table 4)."""
TEMPLATE_FIGURE = "(eer|auc|tar@[1-9]([.][0-9]+)?e-[1-6]|(fmr|fnmr)@-?(0([.][0-9]+)?|1([.]0+)?))"
"""What gates may name of a template set."""
FIGURE = f"(accuracy|{TEMPLATE_FIGURE})"
"""The same of a pair set, and what the evaluator takes their names apart by."""
RELEASES = "IJB_release"
"""Folder below an evaluation's path that holds IJBB and IJBC, as in the archives that they come in."""
LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s %(message)s"
"""A line of what operator, launcher and ranks log, as collectors take it apart."""
