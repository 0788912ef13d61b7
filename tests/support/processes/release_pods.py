"""What pods say that are played: each by the code of the release whose image it names."""

from arcface_api.contract.pod_environment import COMPONENT_LABEL, RUN_CONFIG_FILE
from support.processes.release import Release
from support.processes.training_jobs import TrainingJobs
from testbed.fake_nodes.scripts import Ending, Manifest, Script, label_of


class Voices:
    """What pods of a namespace say, each by the code of its image and the run configuration that it is shown."""

    def __init__(self, jobs: TrainingJobs, *releases: Release) -> None:
        self.jobs = jobs
        self.by_image = {release.image: release for release in releases}

    def of(self, pod: Manifest) -> dict[str, str]:
        """A pod's documents by name, or its `refusal`."""
        volume = next(volume for volume in pod["spec"]["volumes"] if volume["name"] == "config")
        config = self.jobs.config_map(volume["configMap"]["name"])[RUN_CONFIG_FILE]
        return self.by_image[pod["spec"]["containers"][0]["image"]].speech(pod, config)

    def end(self, pod: Manifest) -> Ending:
        """How a pod ends that has done its work."""
        return Ending(message=self.of(pod)["evaluated" if is_evaluator(pod) else "done"])

    def at_work(self, pod: Manifest) -> Script:
        """A pod that works until it is ended, or asked to stop."""
        said = self.of(pod)
        if "refusal" in said:
            return Script(runs=0.0, ending=Ending(exit_code=2, message=said["refusal"]))
        if is_evaluator(pod):
            return Script()
        return Script(progress=said["live"], stopped=Ending(exit_code=143, message=said["stopped"]))


def is_evaluator(pod: Manifest) -> bool:
    """Whether a pod evaluates."""
    return label_of(pod, COMPONENT_LABEL) == "evaluator"
