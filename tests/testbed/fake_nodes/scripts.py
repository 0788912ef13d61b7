"""What fake kubelets do with a pod: the script of its life, and how it ends.

    nodes.play(namespace, Script())                                        # runs until it is deleted
    nodes.play(namespace, Script(runs=0.5, ending=Ending(message=report))) # ends well after half a second
    nodes.play(namespace, by_rank({3: Script(runs=1, ending=Ending(exit_code=1))}))
    nodes.play(namespace, lambda pod: FIRST if label_of(pod, ATTEMPT_LABEL) == "0" else SECOND)

A test may also take part: `nodes.finish(namespace, pod, Ending(exit_code=1))` ends a running pod at once.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from arcface_api.contract.pod_environment import COMPONENT_LABEL, RANK_INDEX_LABEL
from arcface_api.model import Model
from testbed.ascend.annotations import Generation

Manifest = dict[str, Any]
Document = Model | dict[str, Any] | str
"""JSON as a type of ours, as a dict, or as the very text."""


@dataclass(frozen=True, kw_only=True)
class Ending:
    """The end of a container's process."""

    exit_code: int = 0
    message: Document = ""
    """Termination message."""
    reason: str | None = None
    """Kubernetes' word for it, such as OOMKilled; absent means Completed or Error by the exit code."""


@dataclass(frozen=True, kw_only=True)
class Eviction:
    """The kubelet throws the pod out of its node."""

    message: str = "The node was low on resource: memory."


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """The kubelet would not have the pod: it fails without a container."""

    reason: str = "UnexpectedAdmissionError"
    message: str = "Allocate failed due to no healthy devices present, which is unexpected"


@dataclass(frozen=True, kw_only=True)
class Devices:
    """What the Ascend device plugin writes on a pod that asks for devices."""

    delay: float = 0.0
    """Seconds after the pod was bound to the node."""
    generation: Generation = "7.2"
    """Version of the plugin: what it calls a server differs."""
    withheld: int = 0
    """Devices that the pod asks for and does not get."""
    without_address: int = 0
    """Devices, from the first one on, whose address cannot be read: -1."""


@dataclass(frozen=True, kw_only=True)
class Ranks:
    """The ranks of a pod with the trainer's own launcher (`played_launcher`); all times are in seconds."""

    trains: float | None = None
    """From the meeting of all ranks of the gang to the ending; None: until something ends them."""
    ending: Ending = Ending()
    """How they end by themselves; others wait in vain for ranks that end badly."""
    progress: Document | Callable[[float], Document | None] | None = None
    """What rank 0 tells once all have met, or a function of the seconds since then; None: it does not answer."""
    gives_up: float | None = None
    """After which ranks that wait for a dead one die of it, too; None: never."""
    again: "Ranks | None" = None
    """Those of later launches; None: the same."""

    def told(self, seconds: float) -> Document | None:
        """What rank 0 tells after so much training."""
        return self.progress(seconds) if callable(self.progress) else self.progress


@dataclass(frozen=True, kw_only=True)
class Script:
    """The life of a pod; all times are in seconds."""

    starts: float | None = 0.0
    """From binding to running and ready; None: never by itself."""
    refusal: Refusal | None = None
    """Absent: the kubelet takes the pod."""
    waiting: str = "ContainerCreating"
    """Why it does not run before that, such as ImagePullBackOff or CrashLoopBackOff."""
    is_ready: bool = True
    """Whether a running pod is also ready."""
    runs: float | None = None
    """From running to the ending; None: until the test or a deletion ends it."""
    ending: Ending = Ending()
    """How it ends by itself."""
    stops: float | None = 0.0
    """From SIGTERM to the end; None: it ignores SIGTERM and is killed when its grace period is over."""
    stopped: Ending = Ending(exit_code=143)
    """How it ends after SIGTERM."""
    progress: Document | Callable[[float], Document] | None = None
    """What /progress answers while it runs, or a function of the seconds it has run; None: nothing listens."""
    launcher: Document | None = None
    """What /gang says while it runs, as a launcher with nothing new to tell; None: nothing listens."""
    ranks: Ranks | None = None
    """What runs under its launcher, which says then when it ends and what is answered; None: it has none."""
    devices: Devices | None = Devices()
    """None: the device plugin says nothing about the pod."""


NEVER_PULLED = Script(starts=None, waiting="ImagePullBackOff")
NEVER_STARTED = Script(starts=None)
KILLED = Ending(exit_code=137)

ALWAYS, AT_ONCE = Script(), Script(runs=0.0)

Chooser = Callable[[Manifest], Script]
"""Chooses a script by a pod's manifest, when it is first seen."""


def by_rank(ranks: Mapping[int, Script], others: Script = ALWAYS, evaluator: Script = AT_ONCE) -> Chooser:
    """Scripts by the rank index of worker pods, and one for the evaluator's."""

    def choose(pod: Manifest) -> Script:
        if label_of(pod, COMPONENT_LABEL) == "evaluator":
            return evaluator
        index = label_of(pod, RANK_INDEX_LABEL)
        return ranks.get(int(index), others) if index.isdigit() else others

    return choose


def label_of(pod: Manifest, name: str) -> str:
    """A label's value, empty where there is none."""
    return pod["metadata"].get("labels", {}).get(name, "")


def as_text(document: Document) -> str:
    """What a document is on the wire."""
    if isinstance(document, str):
        return document
    return document.to_json() if isinstance(document, Model) else json.dumps(document)
