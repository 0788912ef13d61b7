"""How the pods of a story live: as usual, but for those of the first attempt where it opens otherwise."""

from dataclasses import replace
from typing import Any

from arcface_api.contract.launcher_words import LaunchCall
from arcface_api.contract.pod_environment import (
    ATTEMPT_LABEL,
    COMPONENT_LABEL,
    LAUNCH_ANNOTATION,
    RANK_INDEX_LABEL,
    SPARE,
    WORKER_NUM,
)
from cluster.chaos.draw import Story
from cluster.chaos.recoveries import RESUMED_STEP
from support.processes import training_jobs as played
from testbed.fake_nodes.pod_volumes import container_environment
from testbed.fake_nodes.scripts import Chooser, Devices, Ending, Manifest, Ranks, Refusal, Script, label_of

LATE_SECONDS = 1.5
SAVED = {**played.CHECKPOINT, "path": "quick/step-00000070", "step": RESUMED_STEP}
"""Rank 0 has saved already, so that there is something to lose."""
RESAVED = {**played.CHECKPOINT, "resumedFromStep": RESUMED_STEP}
"""A rank of before may have saved the last step: whoever resumes finds that, and never an older one."""
EVALUATOR = Script(starts=0.1, runs=0.5, ending=Ending(message=played.EVALUATED), stops=0.1)
GETS_NOWHERE: dict[str, dict[str, Any]] = {
    "device withheld": {"startupDeadlineSeconds": 20},
    "stands still": {"stallSeconds": 5},
}
"""Openings of gangs that the operator has to end, and by which bound it does."""
STALLED = '{"failure": {"reason": "Stalled", "message": "rank 0 stands still", "rank": 0, "exitCode": 1}}'


def scripts(story: Story, *, loses_room: bool) -> Chooser:
    """Every rank trains for the story's while, and ends well; so does the evaluator.

    The first gang of a job that is still to lose room trains until it does.
    """
    resumed = Ranks(trains=story.trains_seconds, ending=played.WELL, progress=_resumed, gives_up=story.gives_up)
    endless = replace(resumed, trains=None)

    def trainer(pod: Manifest) -> Script:
        ranks = endless if _is_small(story, pod) else resumed
        if label_of(pod, ATTEMPT_LABEL) != "0":
            return Script(starts=0.1, stops=0.1, ranks=ranks)
        again = endless if loses_room else ranks
        if LaunchCall.parse(pod["metadata"].get("annotations", {}).get(LAUNCH_ANNOTATION, "")).launch:
            return Script(starts=0.1, stops=0.1, ranks=again)
        usual = Script(starts=0.1, stops=0.1, ranks=replace(again, progress=_first, again=again))
        return _opened(story, usual, is_odd=label_of(pod, RANK_INDEX_LABEL) == str(story.opening_rank))

    def choose(pod: Manifest) -> Script:
        if label_of(pod, COMPONENT_LABEL) == "evaluator":
            return EVALUATOR
        return trainer(pod) if label_of(pod, ATTEMPT_LABEL) != SPARE else Script(stops=0.1)

    return choose


def _is_small(story: Story, pod: Manifest) -> bool:
    """Whether a pod is of a gang that has fewer than it should have."""
    return int(container_environment(pod, "").get(WORKER_NUM, "1")) < story.replicas * story.devices


def template(story: Story) -> dict[str, Any]:
    """Each pod of an elastic job has a node of the story's for itself."""
    if story.min_replicas is None:
        return {}
    own = {"labelSelector": {"matchLabels": {COMPONENT_LABEL: "worker"}}, "topologyKey": "kubernetes.io/hostname"}
    apart = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [own]}}
    return {"template": {"spec": {"nodeSelector": {room_label(story): "yes"}, "affinity": apart}}}


def room_label(story: Story) -> str:
    """Of the nodes that an elastic job may have."""
    return f"chaos/{story.name}"


def run_policy(story: Story) -> dict[str, Any]:
    """The job's, with the bound that its opening comes to."""
    bound = GETS_NOWHERE.get(story.opening, {}) if has_opening(story) else {}
    return {"backoffLimit": story.back_off_limit, "cleanPodPolicy": story.clean_pod_policy, **bound}


def has_opening(story: Story) -> bool:
    """Whether the first attempt begins otherwise than usual; cards are told of where there is a table of them."""
    if story.opening == "device withheld":
        return story.is_ascend and story.replicas * story.devices > 1
    return story.opening != "as usual"


def _opened(story: Story, usual: Script, *, is_odd: bool) -> Script:
    """A pod of the first attempt: the odd one, or one that waits for it."""
    if not has_opening(story):
        return usual
    ranks = usual.ranks or Ranks()
    idle = replace(usual, ranks=replace(ranks, trains=None))
    dies = replace(ranks, trains=story.trains_seconds / 2, ending=Ending(exit_code=1))
    stalls = replace(dies, ending=Ending(exit_code=1, message=STALLED))
    still = replace(idle, ranks=replace(ranks, trains=None, progress=_still))
    silent = replace(usual, ranks=replace(ranks, progress=_silent))
    leaves_no_report = replace(usual, ranks=replace(ranks, ending=Ending()))
    odd, others = {
        "image late": (replace(usual, starts=LATE_SECONDS, waiting="ImagePullBackOff"), usual),
        "image invalid": (replace(usual, starts=None, waiting="InvalidImageName"), usual),
        "slow start": (replace(usual, starts=LATE_SECONDS), usual),
        "table late": (replace(usual, devices=Devices(delay=LATE_SECONDS)), usual),
        "out of sight": (silent, silent),
        "deaf to SIGTERM": (replace(usual, stops=None), usual),
        "crashes": (replace(usual, ranks=dies), replace(usual, stops=0.8)),
        "endless": (idle, idle),
        "found standing still": (replace(usual, ranks=stalls), usual),
        "refused by its kubelet": (replace(usual, refusal=Refusal()), usual),
        "device withheld": (replace(usual, devices=Devices(withheld=1)), usual),
        "stands still": (still, still),
        "no report": (leaves_no_report, leaves_no_report),
    }[story.opening]
    return odd if is_odd else others


def _step(seconds: float) -> int:
    """Ten a second, so that one who moves is not taken for one who stands still."""
    return RESUMED_STEP + 1 + int(10 * seconds)


def _first(seconds: float) -> dict[str, Any]:
    return {"progress": {**played.LIVE["progress"], "step": _step(seconds)}, "checkpoint": SAVED}


def _resumed(seconds: float) -> dict[str, Any]:
    return {"progress": {**played.LIVE["progress"], "step": _step(seconds)}, "checkpoint": RESAVED}


def _still(_: float) -> dict[str, Any]:
    return {**_first(0), "progress": {**played.LIVE["progress"], "step": RESUMED_STEP}}


def _silent(_: float) -> None:
    """Nobody can ask for it."""
