"""What launchers are told of the present launch: its number and, where a pod was made anew, where to meet.

It reaches pods by an annotation, as the scheduler's address does. A new pod is made with it, and so begins with the
launch that its gang is at.
"""

from arcface_api.contract.launcher_words import LaunchCall
from arcface_api.contract.pod_environment import LAUNCH_ANNOTATION
from arcface_operator.decision.context import DecisionContext
from arcface_operator.decision.plan import Action, Annotate
from arcface_operator.decision.recovery import one_pod
from arcface_operator.manifests.metadata import Manifest


def announcement(context: DecisionContext) -> tuple[Action, ...]:
    """Tell the pods of the present launch that do not know of it."""
    if not context.launch or one_pod.may_still_save(context):
        return ()
    told = {LAUNCH_ANNOTATION: _call(context).text}
    lost = one_pod.replaced(context)
    return tuple(
        Annotate(name=pod.name, uid=pod.uid, annotations=told, condition="Training")
        for pod in context.pods
        if pod.ended is None and pod not in lost and pod.annotations.get(LAUNCH_ANNOTATION) != told[LAUNCH_ANNOTATION]
    )


def with_call(context: DecisionContext, pod: Manifest) -> Manifest:
    """A pod that begins with the present launch."""
    if not context.launch:
        return pod
    metadata = pod["metadata"]
    annotations = {**metadata.get("annotations", {}), LAUNCH_ANNOTATION: _call(context).text}
    return {**pod, "metadata": {**metadata, "annotations": annotations}}


def _call(context: DecisionContext) -> LaunchCall:
    """The word; ranks may start as soon as pod 0 has an address, and wait for those of a new pod where they meet."""
    if one_pod.present(context) is None:
        return LaunchCall(context.launch)
    lost = one_pod.replaced(context)
    addresses = (pod.address for pod in context.pods if pod.index == 0 and pod not in lost)
    address = None if context.has_rank_table else next(addresses, None)
    return LaunchCall(context.launch, is_anew=True, scheduler=address)
