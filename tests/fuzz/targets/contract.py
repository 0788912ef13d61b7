"""What operator and pods tell each other: reports, run configuration, rank table."""

import json
from typing import Any

from arcface_api import ascend_cards
from arcface_api.contract import rank_table, rank_table_rules, reports, run_config
from arcface_api.errors import InvalidInput
from arcface_operator.manifests.config_maps import build_run_config
from fuzz import scratch
from fuzz.mutation import mutate_json, mutate_text
from fuzz.target import Target
from support.builders import rank_tables, views
from support.builders.jobs import make_job

SMI = """\
| NPU   Name                | Health        | Power(W)    Temp(C)           Hugepages-Usage(page)|
| Chip                      | Bus-Id        | AICore(%)   Memory-Usage(MB)  HBM-Usage(MB)        |
+===========================+===============+====================================================+
| 0     910B3               | OK            | 90.8        38                0    / 0             |
| 0                         | 0000:C1:00.0  | 0           0    / 0          3162 / 65536         |
| 1     910B3               | OK            | 90.8        38                0    / 0             |
| 0                         | 0000:01:00.0  | 0           0    / 0          3162 / 65536         |
| NPU     Chip              | Process id    | Process name             | Process memory(MB)      |
| 0       0                 | 1234          | python                   | 105                     |
"""


def targets() -> list[Target]:
    """Of the contract."""
    return [
        Target(name="trainer-report", samples=TRAINERS, read=_trainer, agrees=_is_that_report, mutate=mutate_json),
        Target(
            name="evaluator-report", samples=EVALUATORS, read=_evaluator, agrees=_is_that_report, mutate=mutate_json
        ),
        Target(name="run-config", samples=_configs(), read=_config, agrees=_is_that_config, mutate=mutate_json),
        Target(name="rank-table", samples=_tables(), read=_table, agrees=_is_that_table, mutate=mutate_json),
        Target(name="npu-smi", samples=[SMI.encode()], read=_chips, agrees=_are_those_chips, mutate=mutate_text),
        Target(
            name="visible-cards", samples=[b"0,1,4,5", b"3"], read=_cards, agrees=_are_those_cards, mutate=mutate_text
        ),
    ]


_CHECKPOINT = '{"path":"runs/step-00000100","step":100,"savedAt":"2026-01-02T00:00:00Z","sha256":"%s"}' % ("a" * 64)
_FAILED = '{"failure":{"reason":"Error","message":"out of memory","rank":1,"exitCode":137},"attempt":2,"jobUid":"x"}'
TRAINERS = [views.LAST_REPORT.encode(), _FAILED.encode(), f'{{"checkpoint":{_CHECKPOINT},"warnings":["w"]}}'.encode()]
EVALUATORS = [
    views.evaluator_report().encode(),
    _FAILED.encode(),
    b'{"ijb":[{"dataset":"IJBC","tarAtFar":{"1e-4":0.9}}]}',
]


def _trainer(data: bytes) -> reports.Report:
    return _present(reports.TrainerReport.parse(data))


def _evaluator(data: bytes) -> reports.Report:
    return _present(reports.EvaluatorReport.parse(data))


def _present(found: Any) -> Any:
    if found is None:
        raise InvalidInput("is no report")
    return found


def _is_that_report(data: bytes, value: reports.Report) -> bool:
    """All that is kept of it stands in the JSON, and it can be told again as JSON."""
    return is_part(json.loads(value.to_json()), json.loads(data))


def is_part(kept: Any, told: Any) -> bool:
    if isinstance(kept, dict):
        return isinstance(told, dict) and all(is_part(value, told.get(name, value)) for name, value in kept.items())
    if isinstance(kept, list):
        return isinstance(told, list) and len(kept) == len(told) and all(map(is_part, kept, told))
    if isinstance(kept, float) and isinstance(told, float | int):
        return abs(kept - told) <= 1e-5 * abs(told)
    return kept == told or (isinstance(kept, str) and isinstance(told, str | int | float))


def _configs() -> list[bytes]:
    job = make_job(evaluation={"claimName": "sets", "sets": ["lfw"]}, training={"epochs": 3})
    return [build_run_config(job).to_json().encode()]


def _config(data: bytes) -> run_config.RunConfig:
    return run_config.RunConfig.read(scratch.write("run.json", data))


def _is_that_config(data: bytes, value: run_config.RunConfig) -> bool:
    return is_part(json.loads(value.to_json()), json.loads(data))


def _tables() -> list[bytes]:
    made = rank_tables.table(rank_tables.job_of(), *map(rank_tables.member, range(2)))
    pods = rank_tables.table(rank_tables.in_super_pods(), *map(rank_tables.member, range(2)))
    return [text.encode() for text in (made.document, pods.document) if text is not None]


def _table(data: bytes) -> rank_table.RankTableDocument:
    found = rank_table.RankTableDocument.parse(data.decode("utf-8", "replace"))
    if found is None:
        raise InvalidInput("is no table")
    rank_table_rules.check_rank_table(found, "hccl.json")
    found.has_rank(0, "10.0.0.1")
    found.super_pod_of(0)
    return found


def _is_that_table(data: bytes, _value: rank_table.RankTableDocument) -> bool:
    """Ranks from 0 without gaps, no card of a server twice: what HCCL demands first."""
    told = json.loads(data.decode("utf-8", "replace"))
    servers = told["server_list"]
    ranks = [int(device["rank_id"]) for server in servers for device in server["device"]]
    cards = [(server["server_id"], int(device["device_id"])) for server in servers for device in server["device"]]
    is_sound = sorted(ranks) == list(range(len(ranks))) and len(set(cards)) == len(cards) and len(ranks) > 0
    count = told.get("server_count")
    return is_sound and told.get("version") in {None, "1.0", "1.2"} and count in {None, len(servers), str(len(servers))}


def _chips(data: bytes) -> list[ascend_cards.Chip]:
    return ascend_cards.parse_chips(data.decode("utf-8", "replace"))


def _are_those_chips(data: bytes, value: list[ascend_cards.Chip]) -> bool:
    text = data.decode("utf-8", "replace")
    return all(chip.bus in text for chip in value)


def _cards(data: bytes) -> list[int]:
    return ascend_cards.parse_visible(data.decode("utf-8", "replace"))


def _are_those_cards(data: bytes, value: list[int]) -> bool:
    return ",".join(map(str, value)).encode() == b",".join(part.lstrip(b"0") or b"0" for part in data.split(b","))
