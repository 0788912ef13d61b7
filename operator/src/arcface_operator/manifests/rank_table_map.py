"""ConfigMap `rings-config-<job>`: the rank table as the ranks see it at RANK_TABLE_FILE."""

from datetime import datetime

from arcface_api.contract.pod_environment import CHIP_FAMILY_LABEL, RANK_TABLE_FILE
from arcface_api.resource.job import ArcFaceTrainingJob
from arcface_operator.manifests.metadata import Manifest, build_metadata, rank_table_name
from arcface_operator.settings import Settings

VERSION_KEY = "version"
"""Time of the last change in seconds: tells a trainer that reads the file twice whether it is another table."""


def build_rank_table_map(job: ArcFaceTrainingJob, document: str, now: datetime, settings: Settings) -> Manifest:
    """The rank table of a job, complete or still initializing."""
    metadata = build_metadata(job, rank_table_name(job.metadata.name), "rank-table")
    metadata["labels"][CHIP_FAMILY_LABEL] = settings.chip_family
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata,
        "data": {RANK_TABLE_FILE: document, VERSION_KEY: str(int(now.timestamp()))},
    }
