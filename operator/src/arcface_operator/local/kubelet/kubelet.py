"""Starts pod manifests as processes: what the kubelet is in a cluster."""

import ipaddress
import os
import random
import shutil
import socket
import sys
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from arcface_api.contract.pod_environment import SCHEDULER_ANNOTATION
from arcface_api.cpu_affinity import core_share
from arcface_api.errors import ArcFaceError, InvalidInput, explained
from arcface_operator.local.kubelet.orphans import MARK, end_marked
from arcface_operator.local.kubelet.pod_process import PodProcess, start_shim
from arcface_operator.local.kubelet.process_spec import PodPlacement, ProcessSpec, build_process_spec
from arcface_operator.local.kubelet.volumes import Claims
from arcface_operator.local.workdir import Workdir
from arcface_operator.manifests.metadata import Manifest

DRAWS = 50


class Kubelet:
    """Runs pods in a directory of this machine."""

    def __init__(
        self,
        workdir: Workdir,
        claims: Claims,
        config_maps: Mapping[str, Manifest],
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        self.workdir = workdir
        self.claims = claims
        self.config_maps = config_maps
        self.clock = clock
        self.wait = wait

    def start(self, pods: list[Manifest], attempt: int) -> list[PodProcess]:
        """Start pods that know each other by name; none is left running when one cannot be started."""
        addresses = draw_addresses(len(pods), {port for pod in pods for port in _container_ports(pod)})
        hosts = {host: address for pod, address in zip(pods, addresses, strict=True) for host in host_names(pod)}
        told = {SCHEDULER_ANNOTATION: addresses[0]}
        specs = [
            build_process_spec(annotated(pod, told), self.placement(pod, address, hosts))
            for pod, address in zip(pods, addresses, strict=True)
        ]
        started: list[PodProcess] = []
        try:
            for pod, address, spec in zip(pods, addresses, specs, strict=True):
                process = self.start_one(pod["metadata"]["name"], address, spec, attempt)
                cores = core_share(os.sched_getaffinity(0), len(pods), len(started))
                os.sched_setaffinity(process.shim.pid, cores)  # its children inherit it
                started.append(process)
        except BaseException:
            self.clear(patience=0.0)
            raise
        return started

    def placement(self, pod: Manifest, address: str, hosts: Mapping[str, str]) -> PodPlacement:
        """Where a pod runs."""
        return PodPlacement(
            folder=self.folder(pod["metadata"]["name"]),
            address=address,
            hosts=hosts,
            claims=self.claims,
            config_maps=self.config_maps,
        )

    def folder(self, pod: str) -> Path:
        """The pod's own folder."""
        return self.workdir.pods / pod

    def start_one(self, name: str, address: str, spec: ProcessSpec, attempt: int) -> PodProcess:
        """Make the pod's folder anew and start its process."""
        folder, log = self.folder(name), self.workdir.logs / f"{name}-{attempt}.log"
        environment, arguments = {**spec.environment, MARK: str(folder)}, _resolve(spec.arguments)
        with explained(folder, "the pod cannot be started", "give another directory with --workdir"):
            shutil.rmtree(folder, ignore_errors=True)
            for directory in (folder, *spec.folders):
                directory.mkdir(parents=True)
            for path, text in spec.files.items():
                path.write_text(text)
            shim = start_shim(arguments, environment, folder, log, spec.grace_seconds)
        return PodProcess(name, address, spec.grace_seconds, log, spec.termination_log, shim)

    def clear(self, patience: float) -> int:
        """End every process of pods in this directory, also an earlier run's; the number that had to be killed."""
        return end_marked(self.workdir.pods, patience, self.clock, self.wait)


def annotated(pod: Manifest, annotations: Mapping[str, str]) -> Manifest:
    """The pod with what the operator adds once the pods have addresses."""
    metadata = pod["metadata"]
    return {**pod, "metadata": {**metadata, "annotations": {**metadata.get("annotations", {}), **annotations}}}


def _container_ports(pod: Manifest) -> list[int]:
    """Ports that the pod's container listens on."""
    return [port["containerPort"] for port in pod["spec"]["containers"][0].get("ports", [])]


def host_names(pod: Manifest) -> list[str]:
    """Names by which the cluster's DNS would know the pod."""
    spec = pod["spec"]
    if "hostname" not in spec or "subdomain" not in spec:
        return []
    short = f"{spec['hostname']}.{spec['subdomain']}"
    return [short, f"{short}.{pod['metadata'].get('namespace', 'default')}"]


def _resolve(arguments: list[str]) -> list[str]:
    """The arguments with `arcface` turned into the command of this very environment."""
    if arguments[0] != "arcface":
        return arguments
    command = Path(sys.executable).parent / "arcface"
    if not command.is_file():
        raise InvalidInput(f"{command}: not found; install the arcface-api distribution into this environment")
    return [str(command), *arguments[1:]]


def draw_addresses(count: int, ports: Collection[int]) -> list[str]:
    """Consecutive addresses in a network drawn at random, on all of which these ports are free."""
    for _ in range(DRAWS):
        # 127.0.x.y is left to services of the machine.
        network = ipaddress.IPv4Address(f"127.{random.randint(64, 254)}.{random.randint(0, 199)}.0")  # noqa: S311
        addresses = [str(network + 1 + index) for index in range(count)]
        if all(is_free(address, port) for address in addresses for port in ports):
            return addresses
    raise ArcFaceError(f"no loopback network where the ports {sorted(ports)} are free; end other runs first")


def is_free(address: str, port: int) -> bool:
    """Whether a server may listen on this port."""
    with socket.socket() as probe:
        try:
            probe.bind((address, port))
        except OSError:
            return False
    return True
