"""How the pods of a story live: as usual, but for those of the first attempt where it opens otherwise."""

from dataclasses import replace
from typing import Any

from arcface_api.contract.pod_environment import ATTEMPT_LABEL, RANK_INDEX_LABEL
from cluster.chaos.draw import Story
from support.processes import training_jobs as played
from testbed.fake_nodes.scripts import Chooser, Devices, Ending, Manifest, Refusal, Script, label_of

LATE_SECONDS = 1.5
SAVED = {**played.CHECKPOINT, "path": "quick/step-00000070", "step": 70}
LIVE = {**played.LIVE, "checkpoint": SAVED}
"""What rank 0 tells: it has saved already, so that there is something to lose."""
EVALUATOR = Script(starts=0.1, runs=0.5, ending=Ending(message=played.EVALUATED), stops=0.1)
GETS_NOWHERE: dict[str, dict[str, Any]] = {
    "device withheld": {"startupDeadlineSeconds": 20},
    "stands still": {"stallSeconds": 5},
}
"""Openings of gangs that the operator has to end, and by which bound it does."""


def scripts(story: Story) -> Chooser:
    """Every rank trains for the story's while, and ends well; so does the evaluator."""
    told = _on_the_way if story.opening == "stands still" else LIVE
    usual = Script(starts=0.1, progress=told, runs=story.trains_seconds, ending=played.WELL, stops=0.1)
    # A rank of the attempt before may have saved the last step: whoever resumes finds that, and never an older one.
    resumed = usual if callable(told) else replace(usual, progress={**LIVE, "checkpoint": played.CHECKPOINT})

    def trainer(pod: Manifest) -> Script:
        if label_of(pod, ATTEMPT_LABEL) != "0":
            return resumed
        return _opened(story, usual, is_odd=label_of(pod, RANK_INDEX_LABEL) == str(story.opening_rank))

    worker = played.goes_well(EVALUATOR, usual)
    return lambda pod: trainer(pod) if worker(pod) is usual else EVALUATOR


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
    late = replace(usual, progress=_after_a_while, runs=story.trains_seconds + LATE_SECONDS)
    idle = replace(usual, progress={}, runs=None)
    odd, others = {
        "image late": (replace(usual, starts=LATE_SECONDS, waiting="ImagePullBackOff"), late),
        "image invalid": (replace(usual, starts=None, waiting="InvalidImageName"), idle),
        "slow start": (replace(usual, starts=LATE_SECONDS), late),
        "table late": (replace(late, devices=Devices(delay=LATE_SECONDS)), late),
        "out of sight": (replace(usual, progress=None), replace(usual, progress=None)),
        "deaf to SIGTERM": (replace(usual, stops=None), usual),
        "crashes": (replace(usual, ending=Ending(exit_code=1)), replace(usual, runs=None)),
        "endless": (replace(usual, runs=None), replace(usual, runs=None)),
        "refused by its kubelet": (replace(usual, refusal=Refusal()), idle),
        "device withheld": (replace(idle, devices=Devices(withheld=1)), idle),
        "stands still": (replace(usual, progress=LIVE, runs=None), replace(usual, progress=LIVE, runs=None)),
        "no report": (replace(usual, ending=Ending()), replace(usual, ending=Ending())),
    }[story.opening]
    return odd if is_odd else others


def _on_the_way(seconds: float) -> dict[str, Any]:
    """One who moves is not taken for one who stands still, however slow the machine is."""
    return {**LIVE, "progress": {**LIVE["progress"], "step": 70 + int(seconds)}}


def _after_a_while(seconds: float) -> dict[str, Any]:
    """Rank 0 has no progress to tell of before the last rank is there."""
    return LIVE if seconds > LATE_SECONDS else {}
