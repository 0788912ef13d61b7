"""What reaches the operator: job files, annotations of device plugins, what pods leave at their end.

Whatever they hold, the API server must take the status that comes of it: one that is refused is never written.
"""

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import yaml

from arcface_api.contract import rank_table, rank_table_rules, reports
from arcface_api.resource import crd
from arcface_api.resource.job import ArcFaceTrainingJob
from arcface_operator.commands import operator as command
from arcface_operator.decision.rank_table import RankTable
from arcface_operator.preflight import job_file
from arcface_operator.settings import Settings
from fuzz import scratch
from fuzz.mutation import mutate_json, mutate_text
from fuzz.target import Target
from fuzz.targets.contract import EVALUATORS, TRAINERS, is_part
from support.builders import rank_tables, views
from support.builders.jobs import job_document
from support.builders.plans import plan_in

EVALUATION = {"evaluation": {"claimName": "sets", "sets": ["lfw"], "gates": [{"metric": "lfw.accuracy", "min": 0.5}]}}

YAML_SECONDS = 20.0
"""On an idle core the largest document that is read takes one."""


def targets() -> list[Target]:
    """Of the operator."""
    return [
        Target(
            name="job-yaml", samples=_jobs(), read=_job, agrees=_is_that_job, mutate=mutate_text, seconds=YAML_SECONDS
        ),
        Target(
            name="job-json",
            samples=_documents(),
            read=_job,
            agrees=_is_that_job,
            mutate=mutate_json,
            seconds=YAML_SECONDS,
        ),
        Target(name="settings", samples=_SETTINGS, read=_settings, agrees=_are_those_settings, mutate=mutate_text),
        Target(name="annotation", samples=_annotations(), read=_table, agrees=_is_sound, mutate=mutate_json),
        Target(name="end-of-trainer", samples=TRAINERS, read=_after_trainer, agrees=is_taken, mutate=mutate_json),
        Target(name="served-report", samples=TRAINERS, read=_after_progress, agrees=is_taken, mutate=mutate_json),
        Target(name="end-of-evaluator", samples=EVALUATORS, read=_after_evaluator, agrees=is_taken, mutate=mutate_json),
    ]


_SETTINGS = [
    b"settleSeconds: 2\nrestartsInPlace: false\nlogLevel: debug\n",
    b"launchSeconds: 1e1\ndriverMounts: [/usr/local/Ascend/driver]\ntrainerImage: 'r.example/t:0.1.0'\n",
    b"deviceClasses:\n- {name: b, resourceName: huawei.com/Ascend910, nodeSelector: {chip: b}}\n",
]


def _settings(data: bytes) -> Settings:
    return command._read_settings(scratch.write("settings.yaml", data))


def _are_those_settings(data: bytes, value: Settings) -> bool:
    """Each is what it is to a plain reader, but for numbers such as 1e1, which that takes for text."""
    told = yaml.safe_load(data.decode()) or {}
    kept = json.loads(value.model_dump_json(by_alias=True, exclude_unset=True))
    is_alike = kept.keys() == told.keys()
    return is_alike and all(is_part(each, told[name]) or float(told[name]) == each for name, each in kept.items())


_DOCUMENT = job_document(
    training={"epochs": 3, "optimizer": {"learningRate": 0.1, "weightDecay": 5e-4}},
    runPolicy={"failureRules": [{"exitCodes": [7], "action": "fail"}], "ttlSecondsAfterFinished": 60},
    **EVALUATION,
)


def _documents() -> list[bytes]:
    return [json.dumps(document).encode() for document in (_DOCUMENT, job_document())]


def _jobs() -> list[bytes]:
    anchors = b"a: &a [1, 2]\nb: *a\n"
    return [yaml.safe_dump(_DOCUMENT).encode(), yaml.safe_dump(job_document()).encode(), anchors]


def _job(data: bytes) -> ArcFaceTrainingJob:
    return job_file.read_job(scratch.write("job.yaml", data))


def _is_that_job(data: bytes, value: ArcFaceTrainingJob) -> bool:
    """All that was written is in it, by a YAML reader without our additions."""
    told = yaml.safe_load(data.decode())
    return is_part(_but_types(told["spec"]), _but_types(json.loads(value.spec.to_json())))


def _but_types(value: Any) -> Any:
    """Numbers that YAML takes for text (5e-4) as numbers, and dates as text."""
    if isinstance(value, dict):
        return {str(name): _but_types(part) for name, part in value.items() if part is not None}
    if isinstance(value, list):
        return [_but_types(part) for part in value]
    is_number = isinstance(value, str) and re.fullmatch(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)[eE][-+]?[0-9]+", value)
    return float(value) if is_number else value


def _annotations() -> list[bytes]:
    older = {"pod_name": "p", "server_id": "10.0.0.11", "devices": [rank_tables.device(0, n) for n in range(2)]}
    return [json.dumps(rank_tables.configuration(0)).encode(), json.dumps(older).encode()]


def _table(data: bytes) -> RankTable:
    pods = rank_tables.member(0, data.decode("utf-8", "replace")), rank_tables.member(1)
    return rank_tables.table(rank_tables.job_of(), *pods)


def _is_sound(_data: bytes, value: RankTable) -> bool:
    """A table of four ranks that HCCL takes, or a line that says why there is none."""
    if value.document is None:
        return value.problem is None or value.problem.isprintable()
    found = rank_table.RankTableDocument.parse(value.document)
    return found is not None and not list(rank_table_rules.rank_table_faults(found)) and value.status.ready == 4


def _after_trainer(data: bytes) -> Any:
    message = data.decode("utf-8", "replace")
    plans = [plan_in("Training", {"pods": (views.make_ended(0, code=code, message=message), views.make_worker(1))})
             for code in (0, 1)]  # fmt: skip
    return [plan.status for plan in plans]


def _after_progress(data: bytes) -> Any:
    return [plan_in("Training", {"report": reports.TrainerReport.parse(data)}).status]


def _after_evaluator(data: bytes) -> Any:
    message = data.decode("utf-8", "replace")
    plans = [plan_in("Evaluating", {"evaluator": views.make_evaluator(code, message)}, **EVALUATION) for code in (0, 1)]
    return [plan.status for plan in plans]


def is_taken(_data: bytes, value: Any) -> bool:
    """Whether an API server takes each status."""
    faults = [fault for status in value for fault in _faults(json.loads(status.to_json()), _status_schema(), "status")]
    assert not faults, faults
    return True


@cache
def _status_schema() -> Mapping[str, Any]:
    schema: Mapping[str, Any] = crd.job_schema()["properties"]["status"]
    return schema


def _faults(value: Any, schema: Mapping[str, Any], path: str) -> Iterator[str]:
    """What an API server has against a value by a structural schema (Kubernetes, OpenAPI v3)."""
    kinds = {"object": dict, "array": list, "string": str, "integer": int, "number": int | float, "boolean": bool}
    kind = schema.get("type")
    if kind is not None and not isinstance(value, kinds[kind]):
        yield f"{path}: {value!r} is no {kind}"
    if isinstance(value, dict):
        yield from _faults_of_object(value, schema, path)
    elif isinstance(value, list):
        for place, part in enumerate(value):
            yield from _faults(part, schema["items"], f"{path}[{place}]")
    else:
        yield from _faults_of_value(value, schema, path)


def _faults_of_object(value: dict[str, Any], schema: Mapping[str, Any], path: str) -> Iterator[str]:
    yield from (f"{path}: lacks {name}" for name in schema.get("required", ()) if name not in value)
    for name, part in value.items():
        inner = schema.get("properties", {}).get(name, schema.get("additionalProperties", {}))
        yield from _faults(part, inner, f"{path}.{name}")


def _faults_of_value(value: Any, schema: Mapping[str, Any], path: str) -> Iterator[str]:
    if "enum" in schema and value not in schema["enum"]:
        yield f"{path}: {value!r} is none of {schema['enum']}"
    if isinstance(value, str):
        is_fit = schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", len(value))
        if not is_fit or not re.search(schema.get("pattern", ""), value):
            yield f"{path}: {value[:80]!r} has not the form"
    elif not schema.get("minimum", value) <= value <= schema.get("maximum", value):
        yield f"{path}: {value!r} is out of bounds"
    elif schema.get("format") == "int64" and not -(2**63) <= value < 2**63:
        yield f"{path}: {value!r} is no int64"
