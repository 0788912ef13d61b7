"""Rules on texts and over several fields, each with the sentence that refuses what breaks it.

The API server enforces them as CEL on objects whose defaults are filled in; the validators of
`arcface_api.resource.spec` and `arcface_api.resource.job` enforce the same rules in Python and take their sentences
from here.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from pydantic import JsonValue

from arcface_api.names import FIGURE, TEMPLATE_FIGURE

KEYWORD = "x-kubernetes-validations"
CHILD_NAME_LIMIT = 63
"""Longest host name (RFC 1035) and label value."""
NAME_PATTERN = r"^[a-z]([-a-z0-9]*[a-z0-9])?$"
CHANGEABLE = frozenset({"suspend", "runPolicy", "evaluation"})
"""Fields of the spec that may change after creation."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A CEL expression that must be true for `self`, and what is said where it is not."""

    cel: str
    message: str


@dataclass(frozen=True, slots=True)
class Form:
    """A pattern that a text must match as a whole; a schema's own `pattern` would be quoted to the user instead."""

    pattern: str
    message: str

    @property
    def rule(self) -> Rule:
        """The same for the API server."""
        return Rule(f"self.matches(r'^{self.pattern}$')", self.message)

    def check(self, text: str) -> str:
        """The text itself, if it has this form."""
        if re.fullmatch(self.pattern, text) is None:
            raise ValueError(self.message)
        return text


NAME = Form(
    "[a-z0-9]([-a-z0-9.]*[a-z0-9])?",
    "must be a name of lower-case letters, digits, '-' and '.' that starts and ends with a letter or digit",
)
SET_NAME = Form(
    "[A-Za-z0-9][A-Za-z0-9_.-]*",
    "must be a name of letters, digits, '_', '-' and '.' that starts with a letter or digit",
)
METRIC = Form(
    f"[A-Za-z0-9][A-Za-z0-9_.-]*[.]{FIGURE}",
    "must be <set>.accuracy, <set>.eer, <set>.auc, <set>.tar@<rate> with a rate such as 1e-4 or 2.5e-3 from 1e-6 on, "
    "<set>.fmr@<score> or <set>.fnmr@<score> with a score from -1 to 1, or a group's, as in <set>.<group>.accuracy",
)
PATH_PART = "([^/.][^/]*|[.][^/.][^/]*|[.][.][^/]+)"
RELATIVE_PATH = Form(
    f"({PATH_PART}(/{PATH_PART})*/?)?",
    "must be a path below its claim: without '/' at the start, an empty part, '.' or '..'",
)
AMOUNT = Form(
    "[0-9]+([.][0-9]+)?([KMGTPE]i|[numkMGTPE]|[eE][-+]?[0-9]+)?", "must be an amount such as 2, 500m, 0.5 or 16Gi"
)
REASON = Form(
    "[A-Za-z][A-Za-z0-9_.,:/-]*", "must be a reason as in status.failure.reason, such as OOMKilled or NodeLost"
)
QUANTITY = Rule(f"type(self) == int ? self >= 0 : {AMOUNT.rule.cel}", AMOUNT.message)


def is_of_template_set(metric: str, name: str) -> bool:
    """Whether a gate's metric is a figure of a set in `ijb`."""
    return re.fullmatch(f"{re.escape(name)}[.]{TEMPLATE_FIGURE}", metric) is not None


def check_quantity(value: int | str) -> int | str:
    """The value itself, if it is a quantity."""
    AMOUNT.check(str(value))
    return value


FREEZE_NEEDS_INIT = Rule("self.freezeEpochs == 0 || has(self.initFrom)", "freezeEpochs needs initFrom")
STEM_STRIDE_IS_FOR_IRESNET = Rule(
    "self.stemStride == 1 || self.backbone != 'mobilefacenet'",
    "stemStride 2 is for IResNet backbones; mobilefacenet has it already",
)
COMBINED_NEEDS_MARGINS = Rule(
    "self.type != 'combined' || (has(self.m1) && has(self.m2) && has(self.m3))", "combined needs m1, m2 and m3"
)
MARGINS_ARE_FOR_COMBINED = Rule(
    "self.type == 'combined' || !(has(self.m1) || has(self.m2) || has(self.m3))",
    "m1, m2 and m3 are for type combined only",
)
MILESTONES_ARE_FOR_STEP = Rule(
    "(self.type == 'step') == has(self.milestones)", "milestones belong to type step, which needs them"
)
MILESTONES_RISE = Rule(
    "!has(self.milestones) || (self.milestones.isSorted()"
    " && self.milestones.all(m, self.milestones.exists_one(n, n == m)))",
    "milestones must rise",
)
# A value that its own field refuses is not complained about a second time: `epochs` here, `metric` below.
WARMUP_ENDS = Rule(
    "self.schedule.warmupEpochs < self.epochs || self.epochs < 1", "schedule.warmupEpochs must be below epochs"
)
# Batch normalisation makes nothing of a single image: its embedding would be the same as any other's.
ACCUMULATION_DIVIDES = Rule(
    "self.gradientAccumulation < 2 || self.batchSize < 1 || (self.batchSize % self.gradientAccumulation == 0"
    " && self.batchSize >= 2 * self.gradientAccumulation)",
    "gradientAccumulation must divide batchSize into parts of 2 or more images",
)
RANK_TABLE_NEEDS_ASCEND = Rule(
    "self.accelerator != 'cpu' || !has(self.rendezvous) || self.rendezvous != 'rankTable'",
    "rendezvous rankTable needs accelerator ascend",
)
MIN_REPLICAS_FIT = Rule(
    "!has(self.minReplicas) || self.minReplicas <= self.replicas || self.replicas < 1",
    "minReplicas must not be above replicas",
)
GANGS_PLACED_IN_PART = ("none", "kueue")
"""Kinds of gangs whose pods get nodes one by one, so that it shows for how many there is room."""
ELASTIC_GANGS_MAY_BE_PLACED_IN_PART = Rule(
    "!has(self.workers.minReplicas) || self.workers.minReplicas >= self.workers.replicas"
    f" || self.scheduling.gang in {list(GANGS_PLACED_IN_PART)}",
    "workers.minReplicas below replicas needs scheduling.gang none or kueue: other gang schedulers place all pods or "
    "none",
)
SETS_ARE_NAMED = Rule("size(self.sets) + size(self.ijb) > 0", "name at least one set in sets or ijb")
SETS_DIFFER = Rule(
    "self.sets.all(s, self.sets.exists_one(t, t == s) && !(s in self.ijb))"
    " && self.ijb.all(s, self.ijb.exists_one(t, t == s))",
    "every set may be named once",
)
ROUNDS_NEED_SETS = Rule(
    "!has(self.everyEpochs) || size(self.sets) > 0", "everyEpochs needs a set in sets: IJB sets are judged at the end"
)
GATES_ARE_ABOUT_SETS = Rule(
    "self.gates.all(g, self.sets.exists(s, g.metric.startsWith(s + '.'))"
    " || self.ijb.exists(s, g.metric.startsWith(s + '.')"
    f" && g.metric.substring(size(s) + 1).matches(r'^{TEMPLATE_FIGURE}$'))"
    f" || !g.metric.matches(r'^{METRIC.pattern}$'))",
    "every gate must be about a set in sets or ijb; those in ijb have no accuracy and no groups",
)
GATE_IS_BOUNDED = Rule(
    "(has(self.min) || has(self.max)) && (!has(self.min) || !has(self.max) || self.min <= self.max)",
    "a gate needs min, max or both, min not above max",
)
FREEZE_ENDS = Rule(
    "self.model.freezeEpochs == 0 || self.model.freezeEpochs < self.training.epochs",
    "model.freezeEpochs must be below training.epochs: the network would never learn",
)
CPU_IS_SINGLE_PRECISION = Rule(
    "self.workers.accelerator != 'cpu' || !has(self.training.precision) || self.training.precision == 'fp32'",
    "training.precision must be fp32 when workers.accelerator is cpu",
)
KUEUE_NEEDS_QUEUE = Rule("self.gang != 'kueue' || has(self.queue)", "gang kueue needs queue, the name of a LocalQueue")
FAILURE_RULE_MATCHES = Rule(
    "has(self.exitCodes) || has(self.reasons) || has(self.messageContains)",
    "a failure rule needs exitCodes, reasons or messageContains",
)
NAME_LEAVES_ROOM = Rule(
    f"self.metadata.name.matches('{NAME_PATTERN}') && size(self.metadata.name) + size('-worker-')"
    f" + size(string(self.spec.workers.replicas - 1)) <= {CHILD_NAME_LIMIT}",
    "metadata.name must be lower-case letters, digits and '-', start with a letter, end with a letter or digit and, "
    f"with -worker-<highest index> behind it, stay within {CHILD_NAME_LIMIT} characters",
)


def unchanged(field: str, *, is_always_there: bool) -> Rule:
    """The rule that a field of the spec stays as it was created.

    Args:
        field: name of the field.
        is_always_there: whether the field is required or has a default; reading an absent one is an error in CEL.
    """
    cel = f"self.{field} == oldSelf.{field}"
    if not is_always_there:
        cel = f"has(self.{field}) == has(oldSelf.{field}) && (!has(self.{field}) || {cel})"
    return Rule(cel, f"spec.{field} cannot be changed after creation: create another job")


def as_cel(rules: Iterable[Rule]) -> list[JsonValue]:
    """The rules as a schema lists them."""
    return [{"message": rule.message, "rule": rule.cel} for rule in rules]


def validations(*rules: Rule) -> dict[str, JsonValue]:
    """The rules as a part of a model's schema."""
    return {KEYWORD: as_cel(rules)}
