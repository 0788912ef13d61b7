"""Words for what befalls pods: Kubernetes' and ours, in `status.failure.reason` and in the table of faults."""

POD_DELETED, POD_LOST, NODE_LOST, PARTLY_HELD = "PodDeleted", "PodLost", "NodeLost", "PartlyHeld"
STALLED, START_LATE, NO_REPORT = "Stalled", "StartupDeadlineExceeded", "NoReport"
DEVICE_FAULT = "DeviceFault"
INIT_FAILED, POD_FAILED = "InitContainerFailed", "PodFailed"
"""Reasons of ours."""
BEFORE_MAIN = frozenset({INIT_FAILED, POD_FAILED})
"""Those of pods that failed by themselves before the main container ran."""
INCURABLE = frozenset({"InvalidImageName", "ErrImageNeverPull", "CreateContainerConfigError"})
"""Reasons for which a container waits that time alone never cures, as kubelets give them."""
UNSEEN = frozenset({"ContainerStatusUnknown", "Unknown"})
"""A kubelet's words for an end that it has not seen, such as that of a node which rebooted; the code is made up."""
MADE_ROOM = frozenset({"Preempted", "Preempting", "PreemptionByScheduler"})
"""Words of schedulers and kubelets for pods that made room for others of a higher priority."""
NODES_DOING = frozenset({"Evicted", "NodeShutdown", "Shutdown", "Terminated", "TerminationByKubelet"})
"""A kubelet's words for pods that it ended: the node is short of something, or goes down."""
NODES_ABSENCE = frozenset({NODE_LOST, "DeletionByTaintManager", "DeletionByPodGC"})
"""Controllers' words for pods whose node is gone or does not answer."""
DISRUPTIONS = MADE_ROOM | NODES_DOING | NODES_ABSENCE
"""What is said of a pod that others ended; kubelets before 1.26 set no DisruptionTarget beside it."""
