"""The chart's values: what they are held against, and what comes of a key that is wrong or left empty."""

import json
import re
from typing import Any

import pytest
import yaml

from arcface_operator.settings import Settings
from testbed.programs.commands import TestbedError
from testbed.programs.helm import CHART, objects, rendered, settings_of

VALUES = yaml.safe_load((CHART / "values.yaml").read_text())
SCHEMA = json.loads((CHART / "values.schema.json").read_text())
OWN_VALUES = {"trainer_image", "resource_name", "device_annotation", "chip_family", "device_classes"}
OWN_VALUES |= {"driver_mounts", "driver_files", "fixed_user"}
"""Settings that have values outside of `settings`."""
WHOLE = {"resources", "test.resources", "podSecurityContext", "securityContext"}
"""Maps that are one value, handed on as they are."""


def values_at(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """All values by their paths, the maps that they lie in, too."""
    found = {}
    for key, value in values.items():
        deeper = isinstance(value, dict) and prefix + key not in WHOLE
        found |= {prefix + key: value} | (values_at(value, f"{prefix}{key}.") if deeper else {})
    return found


PATHS = values_at(VALUES)
LEAVES = {path for path, value in PATHS.items() if not isinstance(value, dict) or not value or path in WHOLE}


def test_values_and_schema_name_the_same_keys() -> None:
    def named(schema: dict[str, Any], prefix: str = "") -> set[str]:
        found = set()
        for key, value in schema["properties"].items():
            path = prefix + key
            is_map = "properties" in value and path not in {"settings", *WHOLE}
            found |= named(value, f"{path}.") if is_map else {path}
        return found

    assert named(SCHEMA) - {"global"} == LEAVES


def test_every_map_of_the_schema_is_closed() -> None:
    def maps(schema: dict[str, Any]) -> list[dict[str, Any]]:
        inner = [*schema.get("properties", {}).values(), schema.get("items", {})]
        own = [schema] if "properties" in schema else []
        return own + [each for part in inner if part for each in maps(part)]

    assert all(each["additionalProperties"] is False for each in maps(SCHEMA))


def test_templates_use_every_value_and_no_other() -> None:
    texts = [path.read_text() for path in (CHART / "templates").rglob("*") if path.is_file()]
    used = {match.rstrip(".") for text in texts for match in re.findall(r"\.Values\.([\w.]+)", text)}
    assert {path for path in used if not any(key == path or key.startswith(f"{path}.") for key in LEAVES)} == set()
    assert {key for key in LEAVES if not any(key == path or key.startswith(f"{path}.") for path in used)} == set()


def test_settings_are_those_of_the_operator() -> None:
    fields = {Settings.model_fields[name].alias or name for name in Settings.model_fields if name not in OWN_VALUES}
    camel = {re.sub(r"_(\w)", lambda found: found[1].upper(), name) for name in fields}
    assert set(SCHEMA["properties"]["settings"]["properties"]) == camel


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("replica=3", "additional properties 'replica' not allowed"),
        ("replicas=0", "minimum: got 0, want 1"),
        ("settings.progressSecond=3", "additional properties 'progressSecond' not allowed"),
        ("image.digest=latest", "does not match pattern"),
        ("ascend.driverMounts={usr}", "does not match pattern"),
        ("ascend.driverFiles={etc}", "does not match pattern"),
        ("ascend.deviceClasses[0].chipFamily=b", "missing property 'name'"),
        ("settings.logFormat=xml", "value must be one of 'text', 'json'"),
        ("fullnameOverride=Faces", "does not match pattern"),
        ("image.repository=x/faces:0.1.0", "'/image/repository': 'x/faces:0.1.0' does not match"),
        ("trainer.repository=x:5000/faces:1", "'/trainer/repository': 'x:5000/faces:1' does not match"),
        ("trainer.repository=x/faces@sha256", "'/trainer/repository': 'x/faces@sha256' does not match"),
        ("image.repository=", "image.repository: no registry holds the images: build and push them"),
        ("trainer.repository=", "--set trainer.repository=REGISTRY/arcface-trainer"),
    ],
)
def test_a_slip_in_the_values_is_told(value: str, message: str) -> None:
    with pytest.raises(TestbedError, match=re.escape(message)):
        rendered(value)


IMAGES = {"image.repository", "trainer.repository"}
EMPTY = {path for path, value in PATHS.items() if value in ({}, [], "")} - IMAGES
SAID_BY_THE_OPERATOR = {"ascend.resourceName", "ascend.deviceAnnotation", "ascend.chipFamily"}
NONE_IS_A_CHOICE = {*WHOLE, "topologySpreadConstraints"}


def test_a_key_without_a_value_is_as_if_it_were_not_there() -> None:
    """Helm makes null of it, and leaves the default out."""
    assert {"podAnnotations", "settings", "namespaces", "ascend.driverMounts", "monitoring.labels"} <= EMPTY
    chosen = (
        "test.training=true",
        "monitoring.podMonitors=true",
        "monitoring.rules=true",
        "networkPolicy.enabled=true",
    )
    empty = (f"{key}=null" for key in sorted(EMPTY))
    assert without_settings(rendered(*chosen, *empty)) == without_settings(rendered(*chosen))
    assert settings_of(*(f"{key}=null" for key in sorted(EMPTY | SAID_BY_THE_OPERATOR))) == settings_of()


def without_settings(text: str) -> str:
    """Rendered objects without the operator's settings, which may say a default or leave it to the operator."""
    return re.sub(r"arcface\.io/settings: \|-\n(?: {10}.*\n)+", "", text)


def test_a_key_without_a_value_that_the_chart_cannot_do_without_is_named() -> None:
    """A map whose keys are all commented out, or a switch that would be off then, such as the one that keeps jobs."""
    needed = set(PATHS) - EMPTY - SAID_BY_THE_OPERATOR - NONE_IS_A_CHOICE - IMAGES
    assert {"ascend", "crds", "crds.keep", "test", "monitoring", "networkPolicy.apiServerPorts"} <= needed
    maps = {path for path in needed if isinstance(PATHS[path], dict)}
    for group in (maps, needed - maps):
        with pytest.raises(TestbedError) as refused:
            rendered(*(f"{key}=null" for key in sorted(group)))
        lines = re.findall(r"at '/?(\w*)': missing propert(?:y|ies) ((?:'\w+'(?:, )?)+)", str(refused.value))
        told = {f"{place}.{key}".strip(".") for place, keys in lines for key in re.findall(r"\w+", keys)}
        assert told == group


def test_a_release_can_be_without_what_may_be_none() -> None:
    found = objects(*(f"{key}=null" for key in sorted(NONE_IS_A_CHOICE)), "test.training=true")
    (container,) = found["Deployment", "arcface-operator"]["spec"]["template"]["spec"]["containers"]
    assert container["resources"] is None


@pytest.mark.parametrize("repository", ["arcface-trainer", "r.example:5000/faces/arcface-trainer", "localhost:5000/a"])
def test_a_registry_may_have_a_port(repository: str) -> None:
    version = yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"]
    assert settings_of(f"trainer.repository={repository}").trainer_image == f"{repository}:{version}"
