"""What a finished job shows: a table of the sets and their gates."""

from collections.abc import Sequence

from rich.table import Table

from arcface_api.contract.reports import EvaluatorReport
from arcface_api.resource.status import GateResult


def results_table(report: EvaluatorReport, gates: Sequence[GateResult]) -> Table:
    """One row a pair set, one a rate of an IJB set, then one a gate of what was not measured."""
    table = Table()
    for heading in ("set", "accuracy", "std", "pairs", "gate"):
        table.add_column(heading, justify="left" if heading in {"set", "gate"} else "right")
    by_metric = {gate.metric: gate for gate in gates}
    for result in report.results:
        gate = by_metric.pop(f"{result.dataset}.accuracy", None)
        accuracy, std = f"{result.accuracy:.5f}", f"{result.std:.5f}"
        table.add_row(result.dataset, accuracy, std, str(result.pairs), "" if gate is None else verdict(gate))
    for ijb in report.ijb:
        for far, tar in ijb.tar_at_far.items():
            metric = f"{ijb.dataset}.tar@{far}"
            gate = by_metric.pop(metric, None)
            table.add_row(metric, f"{tar:.5f}", "", "", "" if gate is None else verdict(gate))
    for gate in by_metric.values():
        table.add_row(gate.metric, "", "", "", verdict(gate))
    return table


def verdict(gate: GateResult) -> str:
    """`passed (>= 0.9)` and the like."""
    return f"{'passed' if gate.passed else 'failed'} (>= {gate.min:g})"
