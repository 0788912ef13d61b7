"""What a cluster is to the operator, on this machine: keeps the pods of a run and carries out what is decided."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from arcface_operator.decision import observation, plan
from arcface_operator.local.kubelet.kubelet import Kubelet, PodProcess
from arcface_operator.local.kubelet.pod_status import reported, terminated
from arcface_operator.manifests.metadata import Manifest

LAST_RESORT = timedelta(seconds=10)
"""Beyond the grace period, after which a shim has failed to do its work."""


@dataclass
class _LocalPod:
    """A pod and its process."""

    manifest: Manifest
    """As it was created, with a uid."""
    process: PodProcess
    leaving: tuple[datetime, float] | None = None
    """While it is being deleted: the end of its grace period, and its length in seconds."""
    end: Manifest | None = None
    """How its container ended, once that has been seen."""

    @property
    def is_running(self) -> bool:
        """Whether its process has not been seen to end."""
        return self.end is None


class LocalCluster:
    """The pods of a run."""

    def __init__(self, kubelet: Kubelet, now: Callable[[], datetime]) -> None:
        self.kubelet = kubelet
        self.now = now
        self.pods: dict[str, _LocalPod] = {}
        self.created = 0

    def look(self) -> tuple[observation.PodView, ...]:
        """All pods as they are now; a deleted one goes once its end has been seen."""
        self.pods = {name: pod for name, pod in self.pods.items() if pod.is_running or pod.leaving is None}
        return tuple(self._view(name, pod) for name, pod in self.pods.items())

    def _view(self, name: str, pod: _LocalPod) -> observation.PodView:
        """A pod by its kubelet's account."""
        if pod.is_running and pod.leaving is not None and self.now() > pod.leaving[0]:
            pod.process.kill()
            if self.now() > pod.leaving[0] + LAST_RESORT:
                self.kubelet.end_pod(name)
        code = pod.process.exit_code()
        if pod.is_running and code is not None:
            pod.end = terminated(code, pod.process.last_words(), self.now())
        return observation.view_pod(reported(pod.manifest, pod.process.address, pod.leaving, pod.end))

    def carry_out(self, actions: Iterable[plan.Action]) -> None:
        """Take what a decision asks for; what needs more than one machine has nothing to be done about."""
        creations = []
        for action in actions:
            match action:
                case plan.Apply(manifest) if manifest["kind"] == "ConfigMap":
                    self.kubelet.config_maps[manifest["metadata"]["name"]] = manifest
                case plan.Create(manifest):
                    creations.append(self._with_identity(manifest))
                case plan.Delete(resource="pods"):
                    self._delete(action)
                case plan.Annotate():
                    self._annotate(action)
        if creations:
            self._start(creations)

    def _with_identity(self, manifest: Manifest) -> Manifest:
        """A pod as the API server would take it in."""
        self.created += 1
        identity = {"uid": f"pod-{self.created}", "creationTimestamp": self.now().isoformat()}
        return {**manifest, "metadata": {**manifest["metadata"], **identity}}

    def _start(self, manifests: list[Manifest]) -> None:
        """Start a gang, or a pod beside the others of its gang, once nothing is left of those before."""
        beside = sum(pod.is_running for pod in self.pods.values())
        if not beside:
            self.kubelet.clear(patience=0.0)
        for manifest, process in zip(manifests, self.kubelet.start(manifests, beside), strict=True):
            self.pods[process.name] = _LocalPod(manifest, process)

    def _delete(self, action: plan.Delete) -> None:
        """Ask a pod to save and end; it is killed when its grace period has passed, which may only become shorter."""
        pod = self.pods.get(action.name)
        if pod is None or pod.manifest["metadata"]["uid"] != action.uid:
            return
        grace = pod.process.grace_seconds if action.grace_seconds is None else action.grace_seconds
        if pod.leaving is not None and grace >= pod.leaving[1]:
            return
        pod.leaving = self.now() + timedelta(seconds=grace), grace
        if pod.is_running:
            pod.process.stop()

    def _annotate(self, action: plan.Annotate) -> None:
        """Show a pod annotations of its own."""
        pod = self.pods.get(action.name)
        if pod is not None and pod.manifest["metadata"]["uid"] == action.uid:
            pod.manifest = self.kubelet.annotate(pod.manifest, action.annotations, pod.process.address)

    def kill(self) -> None:
        """End every pod now, whatever it has to save."""
        for pod in self.pods.values():
            if pod.is_running:
                pod.process.kill()

    def close(self) -> None:
        """Leave no process behind."""
        self.kubelet.clear(patience=0.0)
        for pod in self.pods.values():
            pod.process.reap()
