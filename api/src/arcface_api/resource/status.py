"""`status` of an ArcFaceTrainingJob: what the operator has seen and decided."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, Field, JsonValue, ValidationError

from arcface_api.model import Model
from arcface_api.resource.spec import MOST_SETS

Phase = Literal[
    "Suspended", "Pending", "Queued", "Starting", "Training", "Restarting", "Evaluating", "Succeeded", "Failed"
]
ConditionType = Literal[
    "Ready",
    "Scheduled",
    "FullSize",
    "Suspended",
    "Reachable",
    "RankTableReady",
    "Training",
    "RestartsCapped",
    "CheckpointAvailable",
    "Evaluated",
    "GatesPassed",
    "Complete",
    "Failed",
]

MOST_RESTART_TIMES = 100
MOST_AVOIDED_NODES = 16
MOST_RECOVERIES = 10
_PHASES, _CONDITION_TYPES = frozenset(get_args(Phase)), frozenset(get_args(ConditionType))
_SUMMARIES: dict[str, Phase] = {
    "Failed": "Failed",
    "Complete": "Succeeded",
    "Suspended": "Suspended",
    "Training": "Training",
}
"""What holds for a job by the first of these conditions that does."""

# kubectl prints every digit of a number, so that no more are kept than mean something.
FOUR_DIGITS = AfterValidator(lambda value: round(value, 4))
SIX_DIGITS = AfterValidator(lambda value: round(value, 6))
Measured = Annotated[float, Field(ge=0), FOUR_DIGITS]
"""A time or a speed."""
Percent = Annotated[float, Field(ge=0, le=100), FOUR_DIGITS]
Number = Annotated[int, Field(ge=0, le=2**53)]
"""A count that every reader of JSON keeps exactly."""
Rate = Annotated[float, Field(ge=0, le=1), SIX_DIGITS]
"""A share; the largest sets count 20,000 genuine pairs."""
SmallRate = Annotated[float, Field(ge=0, le=1), AfterValidator(lambda value: float(f"{value:.6g}"))]
"""A share that may be far below one: the largest sets count 16 million impostor pairs."""
Fraction = Annotated[str, Field(pattern=r"^[0-9]+/[0-9]+$")]


def _keyed_by(field: str) -> dict[str, JsonValue]:
    """Marks a list as a map of objects by one of their fields for server-side apply."""
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [field]}


class Condition(Model):
    """One observed fact about the job, in the form of all Kubernetes conditions."""

    type: ConditionType
    """What the condition is about."""
    status: Literal["True", "False", "Unknown"]
    """Whether it holds."""
    reason: str = Field(min_length=1, max_length=1024, pattern=r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$")
    """CamelCase word for programs."""
    message: str = Field(max_length=32768)
    """Sentence for people."""
    observed_generation: int | None = Field(default=None, ge=0)
    """Generation of the spec this was decided for."""
    last_transition_time: datetime
    """When status last changed."""


class WorkersStatus(Model):
    """Counts of rank pods."""

    desired: int = Field(ge=0)
    """Pods wanted."""
    ready: int = Field(default=0, ge=0)
    """Pods ready."""
    succeeded: int = Field(default=0, ge=0)
    """Pods that ended well."""
    failed: int = Field(default=0, ge=0)
    """Pods that failed."""
    summary: Fraction | None = None
    """Ready and desired for kubectl, as in `8/8`."""


class ElasticStatus(Model):
    """How many pods a gang has that has gone on with fewer; any attempt but the one named here has all of them."""

    attempt: int = Field(ge=0)
    """Attempt that is of this size."""
    pods: int = Field(ge=1)
    """Its pods."""
    changed_at: datetime
    """When that number was last decided to be another one."""


class RankTableStatus(Model):
    """State of the rank table."""

    state: Literal["initializing", "completed"]
    """Whether all ranks are in it."""
    ready: int = Field(ge=0)
    """Ranks known."""
    total: int = Field(ge=1)
    """Ranks wanted."""
    missing: list[str] = []
    """Pods whose devices are not known yet; of many the first."""
    missing_more: int | None = Field(default=None, ge=1)
    """How many there are besides."""

    @property
    def missing_in_words(self) -> str:
        """The pods that are named and the number of the others."""
        names = ", ".join(self.missing)
        return names if self.missing_more is None else f"{names} and {self.missing_more:,} more"


class PairResult(Model):
    """Result on one pair set."""

    dataset: str
    """Name of the set."""
    accuracy: Rate
    """Mean accuracy over the ten folds."""
    std: Rate
    """Population standard deviation over the ten folds."""
    pairs: Annotated[int, Field(ge=1, le=2**53)]
    """Pairs in the set."""


class Verification(Model):
    """Pair sets judged during the training."""

    epoch: Number
    """Epochs completed by then."""
    step: Number
    """Steps completed by then."""
    results: list[PairResult] = Field(json_schema_extra=_keyed_by("dataset"))
    """Pair sets; `pairs` is less than a set has where all of them would take too long."""

    @property
    def mean_accuracy(self) -> float:
        """What checkpoints are compared by."""
        return sum(result.accuracy for result in self.results) / len(self.results)


class BestCheckpoint(Model):
    """The checkpoint that did best in the verifications during the training."""

    path: str
    """Its folder, relative to the claim."""
    step: Number
    """Step after which it was taken."""
    accuracy: Rate
    """Its mean accuracy over the sets."""


class Progress(Model):
    """Where the training stands; also what rank 0 serves at /progress."""

    epoch: Number
    """Epochs completed."""
    epochs: Fraction | None = None
    """Epochs completed and wanted for kubectl, as in `3/20`."""
    step: Number
    """Steps completed."""
    total_steps: Number
    """Steps of the whole training."""
    loss: Annotated[float, FOUR_DIGITS] | None = None
    """Mean loss since the last report."""
    images_per_second: Measured | None = None
    """Images per second over all ranks."""
    step_milliseconds: Measured | None = None
    """Mean time of a step."""
    data_wait_percent: Percent | None = None
    """Share of the time that the rank waits for images which waits longest."""
    estimated_completion_time: datetime | None = None
    """When the last step will be done at this speed."""
    slowest_rank: Number | None = None
    """Rank that all others wait for, where one stands out: for images, else by its time in the last verification."""
    loss_scale: Annotated[float, Field(gt=0)] | None = None
    """Factor on the loss before differentiation in the last step; absent where the precision needs none."""
    verification: Verification | None = None
    """Last verification during the training."""
    best: BestCheckpoint | None = None
    """Checkpoint that is kept since no later one was verified to be better."""
    updated_at: datetime
    """When this was measured."""


class CheckpointStatus(Model):
    """The newest complete checkpoint."""

    path: str
    """Its folder, relative to the claim."""
    step: Number
    """Step after which it was taken."""
    saved_at: datetime
    """When it was published."""
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    """Hash of its manifest."""
    resumed_from_step: Number | None = None
    """Step that the current attempt started from."""


class IjbResult(Model):
    """Result on one IJB set."""

    dataset: str
    """Name of the set."""
    tar_at_far: dict[str, Rate]
    """True accept rate by false accept rate, keys 1e-6 to 1e-1."""


class GateResult(Model):
    """A gate and how it came out."""

    metric: str
    """The figure."""
    min: float = 0.0
    """Least value that passes."""
    max: float | None = None
    """Largest value that passes; absent where there is none."""
    value: SmallRate | None = None
    """Value reached; absent when it was not measured."""
    passed: bool
    """Whether it passed."""

    @property
    def bounds(self) -> str:
        """What passes, as `>= 0.99`, `<= 0.01` or both."""
        least = [f">= {self.min:g}"] * (self.min > 0 or self.max is None)
        return " and ".join([*least, *([] if self.max is None else [f"<= {self.max:g}"])])


class EvaluationStatus(Model):
    """Results of the evaluation."""

    checkpoint: str
    """Folder of the checkpoint that was evaluated, relative to the claim."""
    results: list[PairResult] = Field(default=[], json_schema_extra=_keyed_by("dataset"))
    """Pair sets."""
    ijb: list[IjbResult] = Field(default=[], json_schema_extra=_keyed_by("dataset"))
    """IJB sets."""
    gates: list[GateResult] = []
    """Gates."""


class EvaluationProgress(Model):
    """Where an evaluation stands; also what its pod serves at /progress."""

    images: Number
    """Images done: each counts once as it is hashed, and once as it is embedded or found embedded."""
    updated_at: datetime
    """When the last of them was."""


class FailedDevice(Model):
    """A card that is to blame, as MindX tells of it."""

    card: str
    """Its name, such as Ascend910-3; empty where the node as a whole is meant."""
    code: str
    """Fault codes of the driver, comma-separated."""
    level: str
    """How MindX handles the fault, such as RestartBusiness or SeparateNPU."""


class FailureStatus(Model):
    """The first failure of the last attempt."""

    reason: str
    """Class of the failure."""
    message: str
    """What happened, in one line."""
    rank: int | None = Field(default=None, ge=0)
    """First rank of the pod that failed first."""
    pod: str | None = None
    """Its pod."""
    node: str | None = None
    """Its node."""
    exit_code: int | None = None
    """Exit code of its container."""
    device: FailedDevice | None = None
    """Faulty card that explains the failure, where MindX tells of one."""
    log: list[str] = []
    """Last lines of its log."""


class AvoidedNode(Model):
    """A node that a fault was blamed on."""

    name: str
    """Its name."""
    reason: str
    """Class of the fault."""
    since: datetime
    """When it was blamed for the last time."""


class Recovery(Model):
    """One recovery from a fault, as far as it has come."""

    rung: str
    """What was started anew: InPlace (ranks), OnePod (one pod and all ranks), WholeGang, Elastic (another number)."""
    cause: str
    """Class of the fault."""
    since: datetime
    """When it was decided."""
    step: Number | None = None
    """Last step that was known to be made before."""
    seconds: Measured | None = None
    """From then to the first new step that was seen, or the training's end; absent until there is one."""
    steps_lost: Number | None = None
    """Steps that were made again, as far as they were known."""


class Replacement(Model):
    """A pod that was made anew alone, in the attempt of the others."""

    pod: int = Field(ge=0)
    """Its place among the pods of the gang."""
    launch: int = Field(ge=1)
    """The launch of all ranks that it was made for."""


class VerifiedSets(Model):
    """The sets that the ranks of an attempt verify; `spec.evaluation` may have changed since it began."""

    attempt: int = Field(ge=0)
    """The attempt whose pods were told."""
    claim_name: str | None = None
    """Claim that they lie on; absent where its ranks verify none."""
    path: str = ""
    """Folder in the claim."""
    sets: list[str] = Field(default=[], max_length=MOST_SETS)
    """Their names."""
    every_epochs: int | None = Field(default=None, ge=1)
    """Epochs between verifications."""


class ArcFaceTrainingJobStatus(Model):
    """What the operator has seen and decided."""

    phase: Phase | None = None
    """Summary of the conditions."""
    conditions: list[Condition] = Field(default=[], json_schema_extra=_keyed_by("type"))
    """Facts with reasons."""
    observed_generation: int | None = Field(default=None, ge=0)
    """Generation of the spec that this status is about."""
    attempt: int = Field(default=0, ge=0)
    """Number of the current gang of pods."""
    launch: int = Field(default=0, ge=0)
    """How often its ranks were started anew in their pods."""
    replacement: Replacement | None = None
    """The last pod of the current gang that was made anew alone."""
    image: str | None = None
    """Image of its pods, decided before the first of them."""
    resource_name: str | None = None
    """Extended resource of its devices, decided before the first pod of the job, for good."""
    verified: VerifiedSets | None = None
    """What its ranks verify, decided before the first of its pods."""
    restarts: int = Field(default=0, ge=0)
    """Gang restarts for any reason, in place, with one new pod or with new pods."""
    recoveries: list[Recovery] = Field(default=[], max_length=MOST_RECOVERIES)
    """The last recoveries from faults, the newest at the end."""
    counted_restarts: int = Field(default=0, ge=0)
    """Gang restarts after training faults; backoffLimit bounds them."""
    forgiven_restarts: int = Field(default=0, ge=0)
    """Those of them that fell to the stage before the present one, which has backoffLimit for itself."""
    uncounted_restart_times: list[datetime] = Field(default=[], max_length=MOST_RESTART_TIMES)
    """When the last gang restarts were decided that do not count, of those that are too many within some time."""
    avoided_nodes: list[AvoidedNode] = Field(
        default=[], max_length=MOST_AVOIDED_NODES, json_schema_extra=_keyed_by("name")
    )
    """Nodes that faults were blamed on, the newest ones; for a while pods go elsewhere if they can."""
    vain_attempts: int = Field(default=0, ge=0)
    """Attempts in a row that ended before they ran; the pause before the next one doubles with each."""
    refused_attempts: int = Field(default=0, ge=0)
    """Attempts in a row that kubelets have refused for one reason."""
    restarted_at: datetime | None = None
    """When the present attempt was decided."""
    start_time: datetime | None = None
    """When the job was first acted on."""
    running_time: datetime | None = None
    """When all pods first ran together."""
    training_time: datetime | None = None
    """When the ranks first trained."""
    active_seconds: int = Field(default=0, ge=0)
    """Time with room for the whole gang, up to when it last lost it; activeDeadlineSeconds bounds it."""
    training_completion_time: datetime | None = None
    """When the training was done: from then on only the evaluation is left, whatever befalls it."""
    completion_time: datetime | None = None
    """When the job ended."""
    workers: WorkersStatus | None = None
    """Counts of rank pods."""
    elastic: ElasticStatus | None = None
    """Size of the gang, once it has gone on with fewer pods than workers.replicas."""
    rank_table: RankTableStatus | None = None
    """State of the rank table."""
    progress: Progress | None = None
    """Where the training stands."""
    checkpoint: CheckpointStatus | None = None
    """Newest complete checkpoint."""
    evaluation: EvaluationStatus | None = None
    """Results of the evaluation."""
    evaluation_progress: EvaluationProgress | None = None
    """Where the evaluation stands."""
    evaluation_hash: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    """Hash of the wish that the evaluation was begun for: another wish begins another one."""
    workload: str | None = None
    """Kueue's Workload that the job was last seen to wait in: one that is gone is followed by one of another name."""
    failure: FailureStatus | None = None
    """First failure of the last attempt."""


_FOUND_ANEW = frozenset(
    {
        "workers",
        "elastic",
        "rankTable",
        "progress",
        "checkpoint",
        "evaluation",
        "evaluationProgress",
        "failure",
        "uncountedRestartTimes",
        "avoidedNodes",
        "recoveries",
        "replacement",
        "verified",
    }
)
"""Parts of a status that tell people what is known; no decision goes wrong without them."""


def without_newer_words(status: Mapping[str, Any]) -> dict[str, Any]:
    """A status as JSON has it, without the conditions and the phase that only a newer release knows.

    Such a phase is told from the conditions, of which it is a summary; between them and the pods it is found anew
    whether a gang has room.
    """
    conditions = [item for item in status.get("conditions", []) if item.get("type") in _CONDITION_TYPES]
    known = {**status, "conditions": conditions}
    if status.get("phase") in {None, *_PHASES}:
        return known
    holding = {item["type"] for item in conditions if item.get("status") == "True"}
    found = next((phase for kind, phase in _SUMMARIES.items() if kind in holding), None)
    return {**known, "phase": found or ("Queued" if "startTime" in status else None)}


def without_newer_values(status: Mapping[str, Any]) -> dict[str, Any]:
    """A status as JSON has it, less those parts in which a newer release has written what this one cannot read.

    Such as a word that an enumeration does not have yet, or a longer list: a job must not go unsupervised for that.
    """
    try:
        ArcFaceTrainingJobStatus.model_validate_json(json.dumps(status), extra="ignore")
    except ValidationError as error:
        unread = {str(item["loc"][0]) for item in error.errors() if item["loc"]}
        return {name: part for name, part in status.items() if name not in unread & _FOUND_ANEW}
    return dict(status)
