"""`spec` of an ArcFaceTrainingJob: what a user asks for.

The attribute docstrings are the documentation: they become the descriptions in the CRD. Rules over several fields are
validators here and CEL rules of the CRD, with the same sentences from `arcface_api.resource.validation`.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from arcface_api.model import Model
from arcface_api.names import ACCELERATOR_TYPE, ASCEND_910
from arcface_api.resource import validation as rules

Name = Annotated[
    str,
    Field(max_length=253, json_schema_extra=rules.validations(rules.NAME.rule)),
    AfterValidator(rules.NAME.check),
]
SetName = Annotated[
    str,
    Field(max_length=63, json_schema_extra=rules.validations(rules.SET_NAME.rule)),
    AfterValidator(rules.SET_NAME.check),
]
GateMetric = Annotated[
    str,
    Field(max_length=80, json_schema_extra=rules.validations(rules.METRIC.rule)),
    AfterValidator(rules.METRIC.check),
]
FailureReason = Annotated[
    str,
    Field(max_length=128, json_schema_extra=rules.validations(rules.REASON.rule)),
    AfterValidator(rules.REASON.check),
]
RelativePath = Annotated[
    str,
    Field(max_length=1024, json_schema_extra=rules.validations(rules.RELATIVE_PATH.rule)),
    AfterValidator(rules.RELATIVE_PATH.check),
]
"""Below its volume: neither absolute nor with `.` or `..` in it."""
Amount = Annotated[str, Field(max_length=32, json_schema_extra=rules.validations(rules.QUANTITY))]
Quantity = Annotated[int | Amount, Field(union_mode="left_to_right"), AfterValidator(rules.check_quantity)]
Positive = Annotated[int, Field(ge=1, le=2**31 - 1)]
Count = Annotated[int, Field(ge=0, le=2**31 - 1)]
ProgramExitCode = Annotated[int, Field(ge=1, le=255)]

Backbone = Literal["iresnet18", "iresnet34", "iresnet50", "iresnet100", "iresnet200", "mobilefacenet"]
Precision = Literal["fp32", "fp16", "bf16"]
Accelerator = Literal["ascend", "cpu"]
Rendezvous = Literal["rankTable", "dynamic"]

MOST_SETS, MOST_TEMPLATE_SETS = 20, 2
"""So many results of both kinds fit into a termination message, whatever the names."""
VERIFICATION_SETS = ("lfw", "cfp_fp", "agedb_30", "calfw", "cplfw")


class ImagePullSecret(Model):
    """A Secret of the job's namespace with registry credentials."""

    name: Name
    """Name of the Secret."""


class InitFromSpec(Model):
    """Where the weights to begin with are."""

    claim_name: Name
    """PersistentVolumeClaim with the checkpoint, which is only read."""
    path: RelativePath = ""
    """The checkpoint in the claim, or a folder of a job's checkpoints, whose newest complete one is taken."""


class ModelSpec(Model):
    """The network from image to embedding."""

    model_config = ConfigDict(
        json_schema_extra=rules.validations(rules.FREEZE_NEEDS_INIT, rules.STEM_STRIDE_IS_FOR_IRESNET)
    )

    backbone: Backbone = "iresnet100"
    """Architecture."""
    width: float = Field(default=1.0, gt=0, le=4)
    """Multiplier of the channel counts; below 1 for small machines."""
    stem_stride: Literal[1, 2] = 1
    """Stride of the first convolution of an IResNet; 2 quarters the work for small machines."""
    embedding_size: int = Field(default=512, ge=8, le=4096)
    """Length of the embedding."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Probability of dropping a feature before the embedding layer."""
    init_from: InitFromSpec | None = None
    """Checkpoint of a like network to fine-tune; its head is kept where the images are of identities that it knows."""
    freeze_epochs: Count = 0
    """Epochs at the beginning during which a network given by initFrom keeps its weights and only the head learns."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.freeze_epochs and self.init_from is None:
            raise ValueError(rules.FREEZE_NEEDS_INIT.message)
        if self.stem_stride == 2 and self.backbone == "mobilefacenet":
            raise ValueError(rules.STEM_STRIDE_IS_FOR_IRESNET.message)
        return self

    @property
    def network(self) -> Self:
        """The network alone, wherever its weights come from."""
        return self.model_copy(update={"init_from": None, "freeze_epochs": 0})


class LossSpec(Model):
    """The margin softmax over all identities."""

    model_config = ConfigDict(
        json_schema_extra=rules.validations(rules.COMBINED_NEEDS_MARGINS, rules.MARGINS_ARE_FOR_COMBINED)
    )

    type: Literal["arcface", "cosface", "combined"] = "arcface"
    """Kind of margin: additive angle, additive cosine, or cos(m1*angle + m2) - m3."""
    scale: float = Field(default=64.0, gt=0, le=1024)
    """Factor on the cosines before the softmax."""
    margin: float = Field(default=0.5, ge=0, lt=3.15)
    """Margin of arcface (radians) and cosface (cosine); combined uses m1, m2, m3 instead."""
    m1: float | None = Field(default=None, ge=1, le=8)
    """Factor on the angle, combined only; where m1*angle + m2 passes pi the margin goes on in a straight line."""
    m2: float | None = Field(default=None, ge=0, lt=3.15)
    """Added to the angle in radians, combined only."""
    m3: float | None = Field(default=None, ge=0, le=2)
    """Subtracted from the cosine, combined only."""
    gradient: Literal["exact", "straightThrough"] = "exact"
    """Gradient of the margin: its derivative, or 1 as InsightFace has it since December 2022."""
    sample_rate: float = Field(default=1.0, gt=0, le=1)
    """Share of the classes that a step compares with (Partial FC); 1 takes all."""
    interclass_filter: float | None = Field(default=None, gt=0, lt=1)
    """Cosine above which other identities are left out as likely label noise; absent keeps all."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        given = [value is not None for value in (self.m1, self.m2, self.m3)]
        if self.type == "combined" and not all(given):
            raise ValueError(rules.COMBINED_NEEDS_MARGINS.message)
        if self.type != "combined" and any(given):
            raise ValueError(rules.MARGINS_ARE_FOR_COMBINED.message)
        return self


class DataSpec(Model):
    """The training images."""

    claim_name: Name
    """PersistentVolumeClaim with the images."""
    path: RelativePath = ""
    """Folder in the claim with train.rec, train.idx and property, or with one subfolder of images per identity."""
    min_images_per_identity: Positive = 1
    """Identities with fewer images are left out."""
    augmentation: Literal["none", "flip", "strong"] = "flip"
    """Random changes of an image: none, mirror, or mirror with small geometry, light, blur and grey."""
    shuffle_window: int | None = Field(default=None, ge=4096, le=2**31 - 1)
    """Images shuffled with each other, read in runs of 256, for records on network volumes; absent means all."""


class OptimizerSpec(Model):
    """SGD with momentum."""

    learning_rate: float | None = Field(default=None, gt=0, le=100)
    """Learning rate at the total batch; absent means 0.1 x total batch / 1024."""
    momentum: float = Field(default=0.9, ge=0, lt=1)
    """Momentum."""
    weight_decay: float = Field(default=5e-4, ge=0, le=1)
    """Weight decay on every parameter."""


class ScheduleSpec(Model):
    """How the learning rate changes after the linear warm-up."""

    model_config = ConfigDict(json_schema_extra=rules.validations(rules.MILESTONES_ARE_FOR_STEP, rules.MILESTONES_RISE))

    type: Literal["polynomial", "step", "cosine"] = "polynomial"
    """Linear to zero, drops at the milestones, or half a cosine to zero."""
    warmup_epochs: Count = 0
    """Epochs of linear growth from zero."""
    milestones: list[Positive] | None = Field(default=None, min_length=1, max_length=64)
    """Epochs after which the rate is multiplied by gamma, type step only."""
    gamma: float = Field(default=0.1, gt=0, lt=1)
    """Factor of a drop, type step only."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.type == "step") != (self.milestones is not None):
            raise ValueError(rules.MILESTONES_ARE_FOR_STEP.message)
        if self.milestones is not None and sorted(set(self.milestones)) != self.milestones:
            raise ValueError(rules.MILESTONES_RISE.message)
        return self


class TrainingSpec(Model):
    """The optimisation."""

    model_config = ConfigDict(json_schema_extra=rules.validations(rules.WARMUP_ENDS, rules.ACCUMULATION_DIVIDES))

    epochs: Positive = 20
    """Passes over the images."""
    batch_size: Positive = 128
    """Images of a rank in one update, when all ranks are there: this times the ranks is the total batch, always."""
    precision: Precision | None = None
    """Arithmetic of the backbone; absent means fp16 on Ascend and fp32 on CPU; the head is always float32."""
    optimizer: OptimizerSpec = OptimizerSpec()
    """The optimizer."""
    schedule: ScheduleSpec = ScheduleSpec()
    """The learning-rate schedule."""
    gradient_accumulation: Positive = 1
    """Equal parts of batchSize that a rank takes one after another: less memory, the same total batch."""
    clip_norm: float = Field(default=5.0, gt=0)
    """Largest L2 norm of the backbone's gradient."""
    seed: int = Field(default=0, ge=0, le=2**31 - 1)
    """Seed of weights, data order and augmentation."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.schedule.warmup_epochs >= self.epochs:
            raise ValueError(rules.WARMUP_ENDS.message)
        parts = self.gradient_accumulation
        if parts > 1 and (self.batch_size % parts or self.batch_size < 2 * parts):
            raise ValueError(rules.ACCUMULATION_DIVIDES.message)
        return self

    @property
    def micro_batch_size(self) -> int:
        """Images that a rank has memory for at once."""
        return self.batch_size // self.gradient_accumulation


class ResourceRequirements(Model):
    """Compute resources of a container, as in a pod."""

    requests: dict[str, Quantity] | None = Field(default=None, max_length=32)
    """Least amounts the scheduler sets aside."""
    limits: dict[str, Quantity] | None = Field(default=None, max_length=32)
    """Amounts the container may not exceed."""


class WorkersSpec(Model):
    """The rank pods."""

    model_config = ConfigDict(
        json_schema_extra=rules.validations(rules.RANK_TABLE_NEEDS_ASCEND, rules.MIN_REPLICAS_FIT)
    )

    replicas: int = Field(default=1, ge=1, le=10_000)
    """Pods."""
    min_replicas: int | None = Field(default=None, ge=1, le=10_000)
    """Pods that a gang which has trained goes on with while there is no room for more; absent: all, it waits."""
    devices_per_worker: int = Field(default=1, ge=1, le=64)
    """Ranks in each pod, one device each."""
    accelerator: Accelerator = "ascend"
    """Device that the ranks compute on."""
    resource_name: str | None = Field(default=None, min_length=1, max_length=253)
    """Extended resource that stands for one device, or a device class of the operator; absent: the operator's own."""
    rendezvous: Rendezvous | None = None
    """rankTable (absent: on Ascend) gives HCCL a table besides MindSpore's scheduler; dynamic (on CPU) does without."""
    resources: ResourceRequirements | None = None
    """Resources of the trainer container beside the devices."""
    template: dict[str, Any] | None = None
    """Pod template merged under ours: nodeSelector, tolerations, affinity, volumes, env, securityContext and so on."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.rendezvous == "rankTable" and self.accelerator == "cpu":
            raise ValueError(rules.RANK_TABLE_NEEDS_ASCEND.message)
        if self.min_replicas is not None and self.min_replicas > self.replicas:
            raise ValueError(rules.MIN_REPLICAS_FIT.message)
        return self

    @property
    def world_size(self) -> int:
        """Ranks over all pods."""
        return self.replicas * self.devices_per_worker

    @property
    def is_elastic(self) -> bool:
        """Whether the gang may go on with fewer pods."""
        return self.min_replicas is not None and self.min_replicas < self.replicas

    @property
    def device_resource(self) -> str:
        """Extended resource of one device; the operator has filled in what its administrator decides."""
        return self.resource_name or ASCEND_910

    @property
    def accelerator_type(self) -> str:
        """Kind of machine that the template's node selector asks for, such as module-910b-8; empty without one."""
        pod = (self.template or {}).get("spec")
        selector = pod.get("nodeSelector") if isinstance(pod, dict) else None
        return str(selector.get(ACCELERATOR_TYPE, "")) if isinstance(selector, dict) else ""

    @property
    def effective_rendezvous(self) -> Rendezvous:
        """Rendezvous with its default filled in."""
        return self.rendezvous or ("rankTable" if self.accelerator == "ascend" else "dynamic")


class CheckpointSpec(Model):
    """Where and when the state of the training is kept."""

    claim_name: Name
    """PersistentVolumeClaim for the checkpoints."""
    path: RelativePath = ""
    """Folder in the claim; absent means a folder with the job's name."""
    every_steps: Positive = 2000
    """Steps between checkpoints."""
    every_minutes: Positive | None = None
    """Also save when this much time has passed since the last checkpoint."""
    keep_last: Positive = 3
    """Complete checkpoints to keep."""
    mirror_mebibytes: Count | None = None
    """Most memory of each pod, in MiB, for copies of another pod's class centres; absent: a quarter of what is free."""


class GateSpec(Model):
    """A figure that the trained model must reach."""

    model_config = ConfigDict(json_schema_extra=rules.validations(rules.GATE_IS_BOUNDED))

    metric: GateMetric
    """`lfw.accuracy`, `lfw.eer`, `lfw.auc`, `lfw.fnmr@0.35`, `IJBC.tar@1e-4`; a group's as `rfw.African.accuracy`."""
    min: float | None = Field(default=None, ge=0, le=1)
    """Least value that passes."""
    max: float | None = Field(default=None, ge=0, le=1)
    """Largest value that passes, for what should be small."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.min is None and self.max is None) or (self.min or 0.0) > (1.0 if self.max is None else self.max):
            raise ValueError(rules.GATE_IS_BOUNDED.message)
        return self

    def is_passed_by(self, value: float) -> bool:
        """Whether a figure is within the bounds."""
        return (self.min is None or value >= self.min) and (self.max is None or value <= self.max)


class EvaluationSpec(Model):
    """The evaluation that follows the training."""

    model_config = ConfigDict(
        json_schema_extra=rules.validations(
            rules.SETS_ARE_NAMED, rules.SETS_DIFFER, rules.ROUNDS_NEED_SETS, rules.GATES_ARE_ABOUT_SETS
        )
    )

    claim_name: Name
    """PersistentVolumeClaim with the verification sets."""
    path: RelativePath = ""
    """Folder in the claim with the `.bin` files and IJB folders."""
    sets: list[SetName] = Field(default=list(VERIFICATION_SETS), max_length=MOST_SETS)
    """Pair sets, each the file `<name>.bin`."""
    ijb: list[SetName] = Field(default=[], max_length=MOST_TEMPLATE_SETS)
    """Template sets for 1:1 verification, each the folder `IJB_release/<name>`: IJBB, IJBC, or one of your own."""
    every_epochs: Positive | None = None
    """Verify `sets` on all ranks after every so many epochs and keep the best checkpoint; absent means never."""
    gates: list[GateSpec] = Field(default=[], max_length=64)
    """Figures to reach; a miss fails the job."""
    resources: ResourceRequirements | None = None
    """Resources of the evaluator's container."""
    template: dict[str, Any] | None = None
    """Pod template merged under the evaluator's."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        names = [*self.sets, *self.ijb]
        if not names:
            raise ValueError(rules.SETS_ARE_NAMED.message)
        if len(set(names)) != len(names):
            raise ValueError(rules.SETS_DIFFER.message)
        if self.every_epochs is not None and not self.sets:
            raise ValueError(rules.ROUNDS_NEED_SETS.message)
        if not all(self._has_figure(gate.metric) for gate in self.gates):
            raise ValueError(rules.GATES_ARE_ABOUT_SETS.message)
        return self

    def _has_figure(self, metric: str) -> bool:
        of_templates = any(rules.is_of_template_set(metric, name) for name in self.ijb)
        return of_templates or metric.startswith(tuple(f"{name}." for name in self.sets))


class SchedulingSpec(Model):
    """How the pods are scheduled."""

    model_config = ConfigDict(json_schema_extra=rules.validations(rules.KUEUE_NEEDS_QUEUE))

    gang: Literal["none", "native", "volcano", "coscheduling", "kueue"] = "none"
    """Gang scheduler that admits all pods or none; native is the cluster's own, by its PodGroup (Kubernetes 1.36)."""
    queue: Name | None = None
    """Queue of the gang scheduler."""
    priority_class_name: Name | None = None
    """Priority class of the pods."""
    scheduler_name: Name | None = None
    """Scheduler of the pods."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.gang == "kueue" and self.queue is None:
            raise ValueError(rules.KUEUE_NEEDS_QUEUE.message)
        return self


class FailureRule(Model):
    """What is done about some faults; all that a rule names must match."""

    model_config = ConfigDict(json_schema_extra=rules.validations(rules.FAILURE_RULE_MATCHES))

    exit_codes: list[ProgramExitCode] | None = Field(default=None, min_length=1, max_length=32)
    """Exit codes of programs that are to blame for their end: none of pods that node or cluster took away."""
    reasons: list[FailureReason] | None = Field(default=None, min_length=1, max_length=32)
    """Reasons as in status.failure.reason, such as OOMKilled, RankDied or NodeLost."""
    message_contains: str | None = Field(default=None, min_length=1, max_length=256)
    """Text in status.failure.message or in a line of status.failure.log, such as EI0006."""
    action: Literal["Restart", "RestartUncounted", "Fail"]
    """Restart counts against backoffLimit, RestartUncounted does not while such restarts are few, Fail ends the job."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.exit_codes is None and self.reasons is None and self.message_contains is None:
            raise ValueError(rules.FAILURE_RULE_MATCHES.message)
        return self


class RunPolicySpec(Model):
    """Limits on time and retries."""

    backoff_limit: int = Field(default=3, ge=0, le=1000)
    """Gang restarts after training faults; infrastructure faults do not count."""
    failure_rules: list[FailureRule] = Field(default=[], max_length=16)
    """What is done about faults, before the operator's own table of them; the first rule that matches decides."""
    startup_deadline_seconds: Positive = 1800
    """Time for all ranks to start, once every pod has been given a node."""
    scheduling_deadline_seconds: Positive | None = None
    """Time to wait for room in, after which the job fails; absent means that it waits as long as it takes."""
    stall_seconds: Positive = 1800
    """Time without a new step after which the gang is restarted."""
    active_deadline_seconds: Positive | None = None
    """Time with room for the whole gang after which the job fails; waiting in a queue is not counted."""
    ttl_seconds_after_finished: Count | None = None
    """Time after the end at which the job is deleted."""
    clean_pod_policy: Literal["None", "Running", "All"] = "Running"
    """Pods to delete at the end."""


class ArcFaceTrainingJobSpec(Model):
    """What to train, on what, and how good it must become."""

    model_config = ConfigDict(
        json_schema_extra=rules.validations(
            rules.CPU_IS_SINGLE_PRECISION, rules.FREEZE_ENDS, rules.ELASTIC_GANGS_MAY_BE_PLACED_IN_PART
        )
    )

    image: str | None = Field(default=None, min_length=1, max_length=1024)
    """Trainer image; absent means the operator's setting."""
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] | None = None
    """Pull policy of the trainer image."""
    image_pull_secrets: list[ImagePullSecret] = Field(default=[], max_length=16)
    """Secrets for pulling the trainer image."""
    suspend: bool = False
    """True removes the pods and keeps the progress; false resumes from the newest complete checkpoint."""
    model: ModelSpec = ModelSpec()
    """The network."""
    loss: LossSpec = LossSpec()
    """The loss: a softmax over all identities, with a margin for the right one."""
    data: DataSpec
    """The training images."""
    training: TrainingSpec = TrainingSpec()
    """The optimisation."""
    workers: WorkersSpec = WorkersSpec()
    """The rank pods."""
    checkpoint: CheckpointSpec
    """Checkpoints."""
    evaluation: EvaluationSpec | None = None
    """Evaluation after training; absent means none."""
    scheduling: SchedulingSpec = SchedulingSpec()
    """Scheduling."""
    run_policy: RunPolicySpec = RunPolicySpec()
    """Limits on time and retries."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.workers.accelerator == "cpu" and self.training.precision in {"fp16", "bf16"}:
            raise ValueError(rules.CPU_IS_SINGLE_PRECISION.message)
        if 0 < self.training.epochs <= self.model.freeze_epochs:
            raise ValueError(rules.FREEZE_ENDS.message)
        if self.workers.is_elastic and self.scheduling.gang not in rules.GANGS_PLACED_IN_PART:
            raise ValueError(rules.ELASTIC_GANGS_MAY_BE_PLACED_IN_PART.message)
        return self

    @property
    def verifies_during_training(self) -> bool:
        """Whether ranks judge the network at the ends of epochs, and so keep the best one."""
        return self.evaluation is not None and self.evaluation.every_epochs is not None

    @property
    def total_batch_size(self) -> int:
        """Images per update over all ranks."""
        return self.training.batch_size * self.workers.world_size

    @property
    def learning_rate(self) -> float:
        """Learning rate with its default filled in: 0.1 at 1024 images, linear in the total batch."""
        given = self.training.optimizer.learning_rate
        return given if given is not None else 0.1 * self.total_batch_size / 1024

    @property
    def precision(self) -> Precision:
        """Precision with its default filled in."""
        return self.training.precision or ("fp16" if self.workers.accelerator == "ascend" else "fp32")
