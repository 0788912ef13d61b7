"""The definition that is made from the types; tests/cluster/test_resource.py has kubectl print its columns."""

import copy
import json
import re
from collections.abc import Callable, Iterator
from typing import Annotated, Any

import pytest
from pydantic import Field

from arcface_api.model import Model
from arcface_api.resource.crd import custom_resource_definition, job_schema, printer_columns, structural_schema
from arcface_api.resource.job import ArcFaceTrainingJob
from arcface_api.resource.spec import ArcFaceTrainingJobSpec
from support.builders.jobs import job_document

Schema = dict[str, Any]

ALLOWED = {
    "additionalProperties",
    "default",
    "description",
    "enum",
    "exclusiveMaximum",
    "exclusiveMinimum",
    "format",
    "items",
    "maxItems",
    "maxLength",
    "maxProperties",
    "maximum",
    "minItems",
    "minLength",
    "minProperties",
    "minimum",
    "pattern",
    "properties",
    "required",
    "type",
    "x-kubernetes-int-or-string",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-list-type",
    "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-validations",
}


def nodes(schema: Schema, path: str = "") -> Iterator[tuple[str, Schema]]:
    """Every schema inside, with its dotted path."""
    yield path, schema
    for name, field in schema.get("properties", {}).items():
        yield from nodes(field, f"{path}.{name}")
    for keyword in ("items", "additionalProperties"):
        if keyword in schema:
            yield from nodes(schema[keyword], f"{path}[]")


def filled(schema: Schema, value: Any) -> Any:
    """What the API server makes of a value: absent fields take their defaults, from the outside inwards."""
    if isinstance(value, dict):
        given = {name: copy.deepcopy(field["default"]) for name, field in fields_with_default(schema)} | value
        return {name: filled(schema.get("properties", {}).get(name, {}), item) for name, item in given.items()}
    if isinstance(value, list):
        return [filled(schema.get("items", {}), item) for item in value]
    return value


def fields_with_default(schema: Schema) -> list[tuple[str, Schema]]:
    return [(name, field) for name, field in schema.get("properties", {}).items() if "default" in field]


def spec_schema() -> Schema:
    return job_schema()["properties"]["spec"]


def where(wrong: Callable[[Schema], bool]) -> list[str]:
    """Paths of the schema's nodes that something is wrong with."""
    return [path for path, node in nodes(job_schema()) if wrong(node)]


def test_only_keywords_of_structural_schemas_are_used():
    assert where(lambda node: not node.keys() <= ALLOWED) == []


def test_every_node_has_one_type():
    assert where(lambda node: ("type" in node) == ("x-kubernetes-int-or-string" in node)) == []


def test_nothing_has_both_fixed_and_free_keys():
    assert where(lambda node: {"properties", "additionalProperties"} <= node.keys()) == []


def test_no_default_is_null():
    assert where(lambda node: "null" in json.dumps(node.get("default", 0))) == []


@pytest.mark.parametrize("bound", ["Minimum", "Maximum"])
def test_exclusive_bounds_are_booleans_beside_a_bound(bound):
    exclusive = f"exclusive{bound}"
    assert where(lambda node: exclusive in node and (node[exclusive] is not True or bound.lower() not in node)) == []


def test_numbers_say_their_size():
    formats = {"integer": {"int32", "int64"}, "number": {"double"}}
    assert where(lambda node: node.get("format") not in formats.get(node.get("type"), {None, "date-time"})) == []


def test_required_fields_exist_and_have_no_default():
    assert where(lambda node: any("default" in node["properties"][name] for name in node.get("required", []))) == []


def test_keys_of_map_lists_are_required():
    assert (
        where(
            lambda node: any(key not in node["items"]["required"] for key in node.get("x-kubernetes-list-map-keys", []))
        )
        == []
    )


def test_every_field_is_described():
    undescribed = where(lambda node: "description" not in node)
    assert [path for path in undescribed if not path.endswith("[]")] == [".metadata"]


def test_lists_of_the_spec_are_bounded_so_that_rules_over_them_cost_little():
    lists = [schema for _, schema in nodes(spec_schema()) if schema.get("type") == "array"]
    assert all(schema["maxItems"] <= 64 for schema in lists)


def test_strings_of_the_spec_are_bounded():
    strings = [schema for _, schema in nodes(spec_schema()) if schema.get("type") == "string" and "enum" not in schema]
    assert all("maxLength" in schema for schema in strings)


def test_defaults_of_the_schema_are_the_defaults_of_the_types():
    document = {"data": {"claimName": "faces"}, "checkpoint": {"claimName": "checkpoints"}}
    expected = ArcFaceTrainingJobSpec.from_json(json.dumps(document), "test").to_json()
    assert filled(spec_schema(), document) == json.loads(expected)


def test_partly_given_objects_are_filled_up_as_the_types_fill_them():
    document = job_document(
        training={"epochs": 3, "schedule": {"type": "step", "milestones": [1, 2]}},
        evaluation={"claimName": "faces", "gates": [{"metric": "lfw.accuracy", "min": 0.9}]},
        loss={"type": "cosface"},
    )["spec"]
    expected = ArcFaceTrainingJobSpec.from_json(json.dumps(document), "test").to_json()
    assert filled(spec_schema(), document) == json.loads(expected)


def test_filled_defaults_are_accepted_by_the_types():
    document = {**job_document(), "spec": filled(spec_schema(), job_document()["spec"])}
    assert ArcFaceTrainingJob.from_json(json.dumps(document), "test").spec.training.epochs == 20


def test_templates_keep_what_the_schema_does_not_know():
    found = dict(nodes(spec_schema()))
    for path in (".workers.template", ".evaluation.template"):
        assert found[path]["type"] == "object"
        assert found[path]["x-kubernetes-preserve-unknown-fields"] is True


def test_quantities_are_whole_numbers_or_text():
    quantity = dict(nodes(spec_schema()))[".workers.resources.limits[]"]
    assert quantity["x-kubernetes-int-or-string"] is True
    assert "anyOf" not in quantity


def test_conditions_are_a_map_by_type():
    conditions = dict(nodes(job_schema()))[".status.conditions"]
    assert conditions["x-kubernetes-list-type"] == "map"
    assert conditions["x-kubernetes-list-map-keys"] == ["type"]


def test_resource_is_named_as_the_contract_says():
    crd = custom_resource_definition()
    assert crd["metadata"]["name"] == "arcfacetrainingjobs.arcface.io"
    assert crd["spec"]["scope"] == "Namespaced"
    assert crd["spec"]["names"] == {
        "kind": "ArcFaceTrainingJob",
        "listKind": "ArcFaceTrainingJobList",
        "plural": "arcfacetrainingjobs",
        "singular": "arcfacetrainingjob",
        "shortNames": ["arcfacejobs", "arcfacejob", "afj"],
        "categories": ["all"],
    }


def test_status_is_a_subresource_of_the_stored_version():
    (version,) = custom_resource_definition()["spec"]["versions"]
    assert (version["name"], version["served"], version["storage"]) == ("v1alpha1", True, True)
    assert version["subresources"] == {"status": {}}


def test_root_leaves_metadata_to_the_api_server():
    assert job_schema()["properties"]["metadata"] == {"type": "object"}
    assert job_schema()["required"] == ["spec"]
    assert "default" not in job_schema()["properties"]["status"]


class Inner(Model):
    """An inner object."""

    size: Annotated[int, Field(gt=0)] = 2
    """A size."""


class Outer(Model):
    """An outer object."""

    maybe: Inner | None = None
    """Said at the field."""
    always: Inner = Inner()
    ratio: float | None = Field(default=None, lt=1)
    """A ratio."""


def test_absent_objects_become_plain_optional_fields():
    maybe = structural_schema(Outer)["properties"]["maybe"]
    assert maybe["type"] == "object"
    assert "default" not in maybe


def test_what_is_said_at_the_field_wins_over_the_type():
    fields = structural_schema(Outer)["properties"]
    assert fields["maybe"]["description"] == "Said at the field."
    assert fields["always"]["description"] == "An inner object."


def test_objects_with_defaults_have_their_whole_default():
    assert structural_schema(Outer)["properties"]["always"]["default"] == {"size": 2}


def test_exclusive_bounds_are_translated():
    fields = structural_schema(Outer)["properties"]
    assert fields["ratio"] == {
        "description": "A ratio.",
        "type": "number",
        "maximum": 1,
        "exclusiveMaximum": True,
        "format": "double",
    }


@pytest.mark.parametrize(
    ("bound", "size"),
    [
        pytest.param(Field(le=2**31 - 1), "int32", id="largest int32"),
        pytest.param(Field(le=2**31), "int64", id="one more"),
        pytest.param(Field(lt=2**31), "int32", id="below one more"),
        pytest.param(Field(ge=0), "int64", id="no upper bound"),
    ],
)
def test_integers_are_as_wide_as_their_bound_asks_for(bound, size):
    class Number(Model):
        """A number."""

        value: Annotated[int, bound]
        """A number."""

    assert structural_schema(Number)["properties"]["value"]["format"] == size


def test_a_union_that_kubernetes_cannot_say_is_refused():
    class Union(Model):
        """Odd."""

        value: bool | str
        """Odd."""

    with pytest.raises(ValueError, match="boolean"):
        structural_schema(Union)


STEP = re.compile(r"\.(\w+)|\[\?\(@\.(\w+)==\"(\w+)\"\)\]|\['([^']+)'\]")


def test_columns_stand_in_the_order_of_the_contract():
    always = [column["name"].upper() for column in printer_columns() if "priority" not in column]
    assert always == ["PHASE", "READY", "EPOCH", "LOSS", "IMG/S", "STEP-MS", "LFW", "RESTARTS", "AGE"]


def test_wide_columns_add_the_other_sets_the_checkpoint_and_the_eta():
    wide = [column["name"].upper() for column in printer_columns() if column.get("priority") == 1]
    assert wide == ["CFP_FP", "AGEDB_30", "CALFW", "CPLFW", "IJBB", "IJBC", "CHECKPOINT", "ETA"]


@pytest.mark.parametrize("column", printer_columns(), ids=lambda column: column["name"])
def test_every_column_reads_a_field_of_its_type(column):
    if column["jsonPath"].startswith(".metadata"):
        return
    schema = job_schema()
    for field, key, _, _ in STEP.findall(column["jsonPath"]):
        schema = schema["items"] if key else schema.get("properties", {}).get(field) or schema["additionalProperties"]
    assert schema["type"] == column["type"]
