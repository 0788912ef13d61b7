"""Merging a user's pod template between our defaults and what the job cannot do without.

Maps are merged key by key and the later one wins. Lists of named things are merged by name, in the manner of
Kubernetes' strategic merge patch, and containers of the user's own are kept as sidecars.
"""

from typing import Any

from arcface_api.errors import InvalidInput
from arcface_operator.manifests.metadata import Manifest

MERGED_BY = {"containers": "name", "initContainers": "name"}
"""Lists whose items of the same key are merged."""
REPLACED_BY = {
    "env": "name",
    "volumes": "name",
    "volumeMounts": "mountPath",
    "volumeDevices": "devicePath",
    "ports": "containerPort",
    "imagePullSecrets": "name",
}
"""Lists whose items of the same key are replaced: a volume may have one source and a variable one value."""
APPENDED = {
    "tolerations",
    "topologySpreadConstraints",
    "envFrom",
    "preferredDuringSchedulingIgnoredDuringExecution",
}


def with_template(defaults: Manifest, template: Manifest | None, ours: Manifest, field: str) -> Manifest:
    """Pod template of metadata and spec: `ours` over the user's over `defaults`.

    Args:
        defaults: what the user's template may change.
        template: the user's, as in a pod template.
        ours: what it may not.
        field: path of the user's template in the job, named in errors.
    """
    _check_template(template or {}, field)
    return merged(merged(defaults, template or {}, field), ours, field)


def _check_template(template: Manifest, field: str) -> None:
    """Refuse the common slip of writing the pod's fields without `spec` above them."""
    for key, value in template.items():
        if key not in {"metadata", "spec"}:
            raise InvalidInput(f"{field}.{key}: unknown field; a pod template has metadata and spec")
        if not isinstance(value, dict):
            raise InvalidInput(f"{field}.{key}: must be a map")


def template_map(template: Manifest | None, *path: str) -> dict[str, Any]:
    """A map in a user's template, which may be anything until `with_template` has checked it."""
    found: Any = template
    for name in path:
        found = found.get(name) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else {}


def merged(base: Manifest, over: Manifest, field: str) -> Manifest:
    """`base` with `over` laid on top; neither is changed."""
    result = dict(base)
    for key, value in over.items():
        result[key] = value if base.get(key) is None else _combine(key, base[key], value, f"{field}.{key}")
    return result


def _combine(key: str, base: Any, over: Any, field: str) -> Any:
    """Value of a field that both sides have."""
    if isinstance(base, dict) and isinstance(over, dict):
        return merged(base, over, field)
    if _shape(base) is not _shape(over):
        # One of the two is ours and right, so it is the user's that is wrong.
        raise InvalidInput(f"{field}: is not what a pod has there; correct the template")
    if key in APPENDED:
        return [*base, *over]
    if key in MERGED_BY | REPLACED_BY:
        return _merge_lists(key, base, over, field)
    return over


def _shape(value: Any) -> type:
    """Map, list, or a plain value."""
    return next((kind for kind in (dict, list) if isinstance(value, kind)), object)


def _merge_lists(key: str, base: list[Any], over: list[Any], field: str) -> list[Any]:
    """`over` first, its items merged with or replacing those of the same key, then the rest of `base`."""
    identity = (MERGED_BY | REPLACED_BY)[key]
    rest = {_key_of(item, identity, field): item for item in base}
    result = []
    for item in over:
        twin = rest.pop(_key_of(item, identity, field), None)
        result.append(item if twin is None or key in REPLACED_BY else merged(twin, item, field))
    return [*result, *rest.values()]


def _key_of(item: Any, identity: str, field: str) -> Any:
    """Key of an item of a list."""
    if not isinstance(item, dict) or not isinstance(item.get(identity), str | int):
        raise InvalidInput(f"{field}: every item must be a map with {identity}")
    return item[identity]
