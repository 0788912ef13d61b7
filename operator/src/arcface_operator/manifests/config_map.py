"""ConfigMap `<job>-config`: the run configuration as the file that every pod mounts."""

from arcface_api.resource.job import ArcFaceTrainingJob
from arcface_operator.manifests.metadata import Manifest, build_metadata, config_name
from arcface_operator.manifests.run_config import build_run_config

CONFIG_KEY = "run.json"


def build_config_map(job: ArcFaceTrainingJob) -> Manifest:
    """The run configuration of a job."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": build_metadata(job, config_name(job.metadata.name), "config"),
        "data": {CONFIG_KEY: build_run_config(job).to_json()},
    }
