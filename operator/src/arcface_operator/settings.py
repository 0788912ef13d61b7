"""What the operator's administrator decides for all jobs."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from arcface_api.model import Model
from arcface_api.names import ASCEND_910
from arcface_api.resource.status import MOST_RESTART_TIMES

LARGEST = 2**31 - 1
"""Of the settings' numbers; as seconds, 68 years."""
DriverPath = Annotated[str, Field(pattern=r"^/[^/].*$")]


class DeviceClass(Model):
    """One of several kinds of devices of a cluster; what it leaves open is as the settings say it."""

    name: str = Field(max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
    """By which a job may ask for it: no extended resource is named without a slash."""
    resource_name: str | None = Field(default=None, min_length=1)
    """Extended resource that stands for one device."""
    device_annotation: str | None = Field(default=None, min_length=1)
    """Annotation in which its device plugin names a pod's devices."""
    chip_family: str | None = Field(default=None, min_length=1)
    """Value of the label ring-controller.atlas."""
    trainer_image: str | None = Field(default=None, min_length=1)
    """Image of pods whose job names none: CANN has one for each chip."""
    node_selector: dict[str, str] = Field(default_factory=dict)
    """Labels of its nodes, where several kinds are one extended resource."""


class Settings(Model):
    """Defaults for what a job leaves open, names of the cluster's parts, and periods."""

    trainer_image: str = Field(default="arcface-trainer:0.2.0", min_length=1)
    """Image of pods whose job names none."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Least weight of what the operator's log tells."""
    log_format: Literal["text", "json"] = "text"
    """Lines for people, or an object of JSON a line with time, level, logger, message and exception."""
    termination_grace_seconds: int = Field(default=120, ge=1)
    """Time a pod has to save a checkpoint when it is asked to stop."""
    fixed_user: bool = True
    """Whether pods of jobs have user, group and fsGroup 1000, which templates may change; else the cluster does."""
    resource_name: str = Field(default=ASCEND_910, min_length=1)
    """Extended resource of one device, for jobs that name none."""
    device_annotation: str = Field(default="ascend.kubectl.kubernetes.io/ascend-910-configuration", min_length=1)
    """Annotation in which the Ascend device plugin names a pod's devices; it can be configured there, too."""
    chip_family: str = Field(default="ascend-910", min_length=1)
    """Value of the label ring-controller.atlas on rank pods and rank table."""
    driver_mounts: tuple[DriverPath, ...] = ()
    """Folders of the nodes that pods with devices see, such as /usr/local/Ascend/driver; Ascend's runtime may do it."""
    driver_files: tuple[DriverPath, ...] = ()
    """Single files of the nodes that they see besides, such as /etc/ascend_install.info."""
    device_classes: tuple[DeviceClass, ...] = ()
    """Further kinds of devices beside those that the settings themselves describe."""
    coscheduling_scheduler: str = Field(default="scheduler-plugins-scheduler", min_length=1)
    """Name of the scheduler that runs the coscheduling plugin."""
    gang_timeout_seconds: int = Field(default=60, ge=1)
    """Time that the coscheduling plugin holds resources for a gang that is not complete."""
    check_seconds: float = Field(default=10, gt=0)
    """Period of looking whether missing storage or devices have appeared; how long MindX may take to tell of a card."""
    starting_poll_seconds: float = Field(default=2, gt=0)
    """Period of asking rank 0 for its progress until it answers."""
    progress_seconds: float = Field(default=10, gt=0)
    """Period of asking rank 0 for its progress afterwards."""
    unreachable_seconds: float = Field(default=30, ge=0)
    """Time without an answer after which rank 0 is called unreachable; nothing but the condition follows from it."""
    figures_seconds: float = Field(default=5, ge=0)
    """Shortest time between two writes of a status in which only figures have changed."""
    settle_seconds: float = Field(default=2, ge=0)
    """Time to wait for the peers of a pod that fails and cannot say why: one of them may tell the cause."""
    restarts_in_place: bool = True
    """Whether pods stay that can, and start their ranks anew, where that may help; else all pods are made anew."""
    launch_seconds: float = Field(default=30, gt=0)
    """Time for all launchers to start their ranks anew, 20 s more with a new pod; after that all pods are made anew."""
    replace_seconds: float = Field(default=300, ge=0)
    """Time for a pod that is made anew alone to run; after that, and where it is 0, all pods are made anew."""
    restart_seconds: float = Field(default=5, ge=0)
    """Least time between the ends of two attempts that never trained; it doubles with each restart."""
    longest_restart_seconds: float = Field(default=60, ge=0)
    """What that time grows to."""
    partial_gang_seconds: float = Field(default=300, ge=0)
    """Time for which a part of a gang may hold devices or quota while there is no room for the rest."""
    shrink_seconds: float = Field(default=120, ge=0)
    """Time that an elastic gang waits for room for all pods of an attempt; then it goes on with those that have it."""
    grow_seconds: float = Field(default=600, ge=0)
    """Least time from a change of a gang's size until it looks for room for more pods."""
    incurable_seconds: float = Field(default=60, ge=0)
    """Time after which a pod is believed that says it can never start, for want of a key or a valid image name."""
    most_admission_errors: int = Field(default=10, ge=1)
    """Attempts in a row that kubelets may refuse for one and the same reason."""
    most_uncounted_restarts: int = Field(default=20, ge=1, le=MOST_RESTART_TIMES)
    """Restarts for faults of the infrastructure that do not count, within uncountedRestartsSeconds; any more do."""
    uncounted_restarts_seconds: float = Field(default=3600, gt=0)
    """Time for which such a restart is remembered."""
    avoid_node_seconds: float = Field(default=3600, ge=0)
    """Time for which a job's pods go elsewhere, if they can, after a fault that was blamed on their node."""
    force_delete_seconds: float = Field(default=30, ge=0)
    """Time after its grace period at which a pod on a lost node is removed without that node's consent."""

    @field_validator("*")
    @classmethod
    def _are_of_this_world(cls, value: object) -> object:
        """Refuse seconds and numbers that no clock can add: each look at each job would end with that."""
        if isinstance(value, int | float) and value > LARGEST:
            raise ValueError(f"must be at most {LARGEST}")
        return value

    @field_validator("device_classes")
    @classmethod
    def _have_names_of_their_own(cls, classes: tuple[DeviceClass, ...]) -> tuple[DeviceClass, ...]:
        """Refuse two classes of one name: a job that asks for it would get either."""
        names = [each.name for each in classes]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two classes are named {twice[0]!r}; give each a name of its own")
        return classes
