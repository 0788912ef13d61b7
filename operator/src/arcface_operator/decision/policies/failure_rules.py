"""`spec.runPolicy.failureRules`: what is done about a fault by its user's wish; whose doing it is stays as it is."""

from dataclasses import replace

from arcface_api.resource.spec import FailureRule
from arcface_operator.decision.context import DecisionContext
from arcface_operator.decision.fault_table.table import Blame, Remedy
from arcface_operator.decision.faults import Fault

ACTIONS = {"Restart": Remedy.RESTART, "RestartUncounted": Remedy.RESTART_FREE, "Fail": Remedy.FAIL}
OWN = frozenset({Blame.JOB, Blame.PROGRAM})
"""Whose exit codes are their own: those of pods that were taken away say nothing."""


def judged(context: DecisionContext, fault: Fault) -> Fault:
    """The fault with the remedy of the first rule that matches; what only waits for room has nothing to be judged."""
    if fault.remedy is Remedy.LET_GO:
        return fault
    rule = next((rule for rule in context.spec.run_policy.failure_rules if _matches(rule, fault)), None)
    if rule is None:
        return fault
    return replace(fault, verdict=replace(fault.verdict, remedy=ACTIONS[rule.action]))


def _matches(rule: FailureRule, fault: Fault) -> bool:
    """Whether all that a rule names is so."""
    failure = fault.failure
    if rule.exit_codes is not None and not (fault.verdict.blame in OWN and failure.exit_code in rule.exit_codes):
        return False
    if rule.reasons is not None and failure.reason not in rule.reasons:
        return False
    text = rule.message_contains
    return text is None or any(text in line for line in (failure.message, *failure.log))
