"""Starts pod manifests as processes: what the kubelet is in a cluster. A `PodProcess` is a pod that it has started."""

import ipaddress
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from arcface_api.contract.pod_environment import ATTEMPT_LABEL, RANK_INDEX_LABEL
from arcface_api.cpu_affinity import core_share
from arcface_api.errors import ArcFaceError, InvalidInput, explained
from arcface_operator.local.kubelet import directories, orphans, process_spec
from arcface_operator.local.kubelet.cards import PodCards
from arcface_operator.local.kubelet.shim import BY_SIGNAL
from arcface_operator.manifests.metadata import Manifest

TAIL_BYTES = 4096


@dataclass(frozen=True)
class PodProcess:
    """A started pod. The process is the shim, which passes signals on and returns the command's exit status."""

    name: str
    address: str
    grace_seconds: float
    log: Path
    termination_log: Path
    shim: "subprocess.Popen[bytes]"

    def exit_code(self) -> int | None:
        """Exit status as a container's, None while the pod runs."""
        code = self.shim.poll()
        return code if code is None or code >= 0 else BY_SIGNAL - code

    def stop(self) -> None:
        """Ask the command to save and end; it is killed when its grace period has passed."""
        self.shim.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End the command now."""
        self.shim.send_signal(signal.SIGUSR1)

    def reap(self) -> None:
        """Take in the end of a process that has been killed."""
        self.shim.wait()

    def last_words(self) -> bytes:
        """Termination message, or what Kubernetes would fall back to: the end of the log."""
        with explained(self.log.parent, "what a pod has left cannot be read", "give another directory with --workdir"):
            if self.termination_log.is_file() and (message := self.termination_log.read_bytes()):
                return message
            with self.log.open("rb") as log:
                log.seek(max(0, log.seek(0, os.SEEK_END) - TAIL_BYTES))
                return log.read()


def log_name(pod: str, attempt: int) -> str:
    """Name of a pod's log."""
    return f"{pod}-{attempt}.log"


def _start_shim(
    spec: process_spec.ProcessSpec, environment: Mapping[str, str], folder: Path, log: Path, locks: Collection[int]
) -> "subprocess.Popen[bytes]":
    """Start a command under a shim, its output appended to the log; the shim holds the locks as long as it lives."""
    shim = [sys.executable, "-m", "arcface_operator.local.kubelet.shim", str(os.getpid()), str(spec.grace_seconds)]
    with log.open("ab") as output:
        return subprocess.Popen(
            [*shim, *_resolve(spec.arguments)],
            cwd=folder,
            env={**pod_environment(os.environ), **environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=tuple(locks),
        )


OF_OTHER_RANKS = re.compile(
    "(MS|HCCL|OMPI|PMIX)_.*|RANK_(TABLE_FILE|ID|SIZE)|(ASCEND_)?DEVICE_ID|MINDSPORE_HCCL_CONFIG_PATH"
)
"""Variables that make MindSpore and HCCL join whatever a shell was set up for; pods have their own, from the job."""


def pod_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """What pods take over from the shell: paths and the like, and nothing that makes a rank of them."""
    return {name: value for name, value in environment.items() if not OF_OTHER_RANKS.fullmatch(name)}


DRAWS = 50


class Kubelet:
    """Runs pods in a directory of this machine."""

    def __init__(self, workdir: directories.Workdir, claims: directories.Claims) -> None:
        self.workdir = workdir
        self.claims = claims
        self.config_maps: dict[str, Manifest] = {}
        """By name; there before the pods that mount them."""
        self.cards = PodCards()
        """None, until what an earlier run has left behind holds none any more."""
        self.locks: tuple[int, ...] = ()
        """Files that stay locked until the last pod has ended, whatever becomes of the runner."""

    def start(self, pods: list[Manifest], beside: int = 0) -> list[PodProcess]:
        """Start pods that know each other by name; none is left running when one cannot be started.

        Args:
            pods: a gang, or what is to join one.
            beside: pods of the gang that run already.
        """
        addresses = draw_addresses(len(pods), {port for pod in pods for port in _container_ports(pod)})
        specs = self.specs(pods, addresses)
        started: list[PodProcess] = []
        try:
            for place, pod, address, spec in zip(places(pods), pods, addresses, specs, strict=True):
                process = self.start_one(pod["metadata"], address, spec)
                cores = core_share(os.sched_getaffinity(0), beside + len(pods), place)
                os.sched_setaffinity(process.shim.pid, cores)  # its children inherit it
                started.append(process)
        except BaseException:
            self.clear(patience=0.0)
            raise
        return started

    def specs(self, pods: list[Manifest], addresses: list[str]) -> list[process_spec.ProcessSpec]:
        """What to start for each pod, with its cards."""
        hosts = {host: address for pod, address in zip(pods, addresses, strict=True) for host in host_names(pod)}
        specs = [
            process_spec.build_process_spec(pod, self.placement(pod, address, hosts))
            for pod, address in zip(pods, addresses, strict=True)
        ]
        cards = self.cards.variables(places(pods), pods)
        return [replace(spec, environment=spec.environment | own) for spec, own in zip(specs, cards, strict=True)]

    def placement(self, pod: Manifest, address: str, hosts: Mapping[str, str]) -> process_spec.PodPlacement:
        """Where a pod runs."""
        return process_spec.PodPlacement(
            folder=self.folder(pod["metadata"]["name"]),
            address=address,
            hosts=hosts,
            claims=self.claims,
            config_maps=self.config_maps,
        )

    def folder(self, pod: str) -> Path:
        """The pod's own folder."""
        return self.workdir.pods / pod

    def start_one(self, metadata: Manifest, address: str, spec: process_spec.ProcessSpec) -> PodProcess:
        """Make the pod's folder anew and start its process."""
        name, attempt = metadata["name"], int(metadata.get("labels", {}).get(ATTEMPT_LABEL, 0))
        folder, log = self.folder(name), self.workdir.logs / log_name(name, attempt)
        environment = {**spec.environment, orphans.MARK: str(folder)}
        self.end_pod(name)
        with explained(folder, "the pod cannot be started", "give another directory with --workdir"):
            shutil.rmtree(folder, ignore_errors=True)
            for directory in (folder, *spec.folders):
                directory.mkdir(parents=True)
            for path, text in spec.files.items():
                path.write_text(text)
            shim = _start_shim(spec, environment, folder, log, self.locks)
        return PodProcess(name, address, spec.grace_seconds, log, spec.termination_log, shim)

    def annotate(self, pod: Manifest, annotations: Mapping[str, str], address: str) -> Manifest:
        """The pod with more annotations, and the files anew by which it sees them."""
        told = process_spec.annotated(pod, annotations)
        for path, text in process_spec.annotation_files(told, self.placement(told, address, {})).items():
            with explained(path, "the pod cannot be told", "give another directory with --workdir"):
                fresh = path.with_name(f".{path.name}")
                fresh.write_text(text)
                fresh.replace(path)  # at once, as a kubelet does it
        return told

    def clear(self, patience: float, wait: Callable[[float], None] = time.sleep) -> int:
        """End every process of pods in this directory, also an earlier run's; the number that had to be killed."""
        return orphans.end_marked(self.workdir.pods, patience, time.monotonic, wait)

    def end_pod(self, name: str) -> None:
        """Kill all that is left of a pod, whatever its shim does."""
        orphans.end_marked(self.folder(name), 0.0, time.monotonic, time.sleep)


def places(pods: Iterable[Manifest]) -> list[int]:
    """Places of pods in their gang, by their labels; in the order given where they have none."""
    labels = (pod["metadata"].get("labels", {}) for pod in pods)
    return [int(own.get(RANK_INDEX_LABEL, order)) for order, own in enumerate(labels)]


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
