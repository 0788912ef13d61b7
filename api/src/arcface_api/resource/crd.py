"""The CustomResourceDefinition, made from the types, with the columns of `kubectl get`.

Kubernetes takes a narrower dialect than pydantic writes (a "structural schema" of OpenAPI 3.0): no references, no
unions but int-or-string, no null, bounds with boolean exclusiveness.
"""

import copy
from typing import Any

from pydantic import BaseModel, JsonValue

from arcface_api.names import GROUP, KIND, PLURAL, SHORT_NAMES, SINGULAR, VERSION
from arcface_api.resource.job import ArcFaceTrainingJob
from arcface_api.resource.spec import VERIFICATION_SETS
from arcface_api.resource.validation import CHANGEABLE, KEYWORD, as_cel, unchanged

Schema = dict[str, Any]
REFERENCE = "#/$defs/"
LARGEST_INT32 = 2**31 - 1
COPIED = (
    "enum",
    "format",
    "maxItems",
    "maxLength",
    "maxProperties",
    "maximum",
    "minItems",
    "minLength",
    "minProperties",
    "minimum",
    "pattern",
    "required",
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
    KEYWORD,
)
"""Keywords that mean the same in both dialects."""
Column = dict[str, JsonValue]
WIDE = 1
"""Priority of the columns that only `-o wide` shows."""


def custom_resource_definition() -> Schema:
    """The whole manifest."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{PLURAL}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "names": {
                "kind": KIND,
                "listKind": f"{KIND}List",
                "plural": PLURAL,
                "singular": SINGULAR,
                "shortNames": list(SHORT_NAMES),
                "categories": ["all"],
            },
            "scope": "Namespaced",
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": printer_columns(),
                    "schema": {"openAPIV3Schema": job_schema()},
                }
            ],
        },
    }


def job_schema() -> Schema:
    """Schema of the resource: metadata is the API server's own, and the spec may not change after creation."""
    schema = structural_schema(ArcFaceTrainingJob)
    fields = schema["properties"]
    for name in ("apiVersion", "kind"):
        fields[name] = {"description": fields[name]["description"], "type": "string"}
    fields["metadata"] = {"type": "object"}
    fields["spec"][KEYWORD] = [*fields["spec"].get(KEYWORD, []), *_unchanged_fields(fields["spec"])]
    del fields["status"]["default"]
    return {**schema, "required": ["spec"]}


def _unchanged_fields(spec: Schema) -> list[Any]:
    fields = spec["properties"].items()
    kept = [
        unchanged(name, is_always_there=name in spec["required"] or "default" in field)
        for name, field in fields
        if name not in CHANGEABLE
    ]
    return as_cel(kept)


def structural_schema(model: type[BaseModel]) -> Schema:
    """Structural schema of a model; defaults are whole objects, so that rules hold on them too."""
    schema = model.model_json_schema(by_alias=True)
    return _structural(schema, schema.get("$defs", {}))


def _structural(node: Schema, definitions: dict[str, Schema]) -> Schema:
    node = _resolved(node, definitions)
    result: Schema = {key: node[key] for key in ("description", "type") if key in node}
    if node.get("default") is not None:
        result["default"] = _plain(node["default"])
    result |= _copied(node)
    result |= _exclusive_bounds(node) | _number_format(node) | _choice(node)
    if "items" in node:
        result["items"] = _structural(node["items"], definitions)
    if "properties" in node:
        result["properties"] = {name: _structural(field, definitions) for name, field in node["properties"].items()}
    elif node.get("type") == "object":
        result |= _free_keys(node.get("additionalProperties", True), definitions)
    return result


def _resolved(node: Schema, definitions: dict[str, Schema]) -> Schema:
    """The node without reference and without null; what is said at the field wins over what its type says."""
    if "$ref" in node:
        said = {key: value for key, value in node.items() if key != "$ref"}
        return _resolved({**definitions[node["$ref"].removeprefix(REFERENCE)], **said}, definitions)
    choices = [choice for choice in node.get("anyOf", []) if choice != {"type": "null"}]
    if len(choices) == 1:
        said = {key: value for key, value in node.items() if key != "anyOf"}
        return _resolved({**_resolved(choices[0], definitions), **said}, definitions)
    return node


def _choice(node: Schema) -> Schema:
    """Kubernetes knows one union, integer or string; the string's bounds do not touch the integer."""
    choices = {choice["type"]: choice for choice in node.get("anyOf", [])}
    if not choices:
        return {}
    if choices.keys() != {"integer", "string"}:
        raise ValueError(f"{node.get('title')}: a union of {sorted(choices)} cannot be said in a structural schema")
    return {"x-kubernetes-int-or-string": True} | _copied(choices["string"])


def _copied(node: Schema) -> Schema:
    """What both dialects say alike; a copy of its own wherever a type is used, which YAML writes without anchors."""
    return copy.deepcopy({key: node[key] for key in COPIED if key in node})


def _exclusive_bounds(node: Schema) -> Schema:
    bounds: Schema = {}
    for bound in ("minimum", "maximum"):
        exclusive = f"exclusive{bound.title()}"
        if exclusive in node:
            bounds |= {bound: node[exclusive], exclusive: True}
    return bounds


def _number_format(node: Schema) -> Schema:
    if node.get("type") == "number":
        return {"format": "double"}
    if node.get("type") != "integer":
        return {}
    largest = max(node.get("enum", [node.get("maximum", node.get("exclusiveMaximum", 2**63) - 1)]))
    return {"format": "int32" if largest <= LARGEST_INT32 else "int64"}


def _free_keys(values: bool | Schema, definitions: dict[str, Schema]) -> Schema:  # noqa: FBT001 - as JSON schema has it
    if isinstance(values, bool):
        return {"x-kubernetes-preserve-unknown-fields": True}
    return {"additionalProperties": _structural(values, definitions)}


def _plain(value: Any) -> Any:
    """A default without absent values, whole numbers without a fraction as the API server returns them."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def printer_columns() -> list[Column]:
    """The columns of `kubectl get arcfacejobs` from left to right; NAME stands before them by itself."""
    first, *others = (_accuracy(name) for name in VERIFICATION_SETS)
    return [
        _column("Phase", "string", ".status.phase"),
        _column("Ready", "string", ".status.workers.summary"),
        _column("Epoch", "string", ".status.progress.epochs"),
        _column("Loss", "number", ".status.progress.loss"),
        _column("Img/s", "number", ".status.progress.imagesPerSecond"),
        _column("Step-ms", "number", ".status.progress.stepMilliseconds"),
        first,
        _column("Restarts", "integer", ".status.restarts"),
        *(_wide(other) for other in others),
        *(_wide(_tar_at_1e_4(name)) for name in ("IJBB", "IJBC")),
        _wide(_column("Checkpoint", "integer", ".status.checkpoint.step")),
        # A date column would print the time since, which is "<invalid>" for a time to come.
        _wide(_column("ETA", "string", ".status.progress.estimatedCompletionTime")),
        _column("Age", "date", ".metadata.creationTimestamp"),
    ]


def _accuracy(dataset: str) -> Column:
    """Accuracy on a pair set."""
    return _column(dataset.upper(), "number", f'.status.evaluation.results[?(@.dataset=="{dataset}")].accuracy')


def _tar_at_1e_4(dataset: str) -> Column:
    """True accept rate of an IJB set at the false accept rate that papers compare."""
    return _column(dataset, "number", f".status.evaluation.ijb[?(@.dataset==\"{dataset}\")].tarAtFar['1e-4']")


def _column(name: str, kind: str, path: str) -> Column:
    """A column that is always shown."""
    return {"name": name, "type": kind, "jsonPath": path}


def _wide(shown: Column) -> Column:
    """The column, shown by `-o wide` only."""
    return {**shown, "priority": WIDE}
