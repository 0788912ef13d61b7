"""Reading a job from a YAML file, with the strictness of the API server and errors that name line and field."""

import json
import re
from pathlib import Path
from typing import Any

import yaml

from arcface_api.errors import InvalidInput, explained
from arcface_api.names import API_VERSION, KIND
from arcface_api.resource.job import ArcFaceTrainingJob

SIZE_LIMIT = 1 << 20
"""Bytes; the API server takes no larger objects either."""
NODE_LIMIT = 100_000
"""Nodes of the document after its aliases are expanded."""
EXPONENT = re.compile(r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)[eE][-+]?[0-9]+$")
FLOAT = "tag:yaml.org,2002:float"
TIMESTAMP = "tag:yaml.org,2002:timestamp"


class JobLoader(yaml.SafeLoader):
    """Plain values only, read as kubectl reads them: a date stays text, and 5e-4 is a number without a dot, too."""


JobLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != TIMESTAMP]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
JobLoader.add_implicit_resolver(FLOAT, EXPONENT, list("-+.0123456789"))


def read_job(path: Path) -> ArcFaceTrainingJob:
    """The one job that a file describes."""
    return parse_job(_read_text(path), str(path))


def _read_text(path: Path) -> str:
    """Content of the file."""
    with explained(path, "cannot be read", "give the job's YAML file with -f"):
        data = path.read_bytes()
    if len(data) > SIZE_LIMIT:
        raise InvalidInput(f"{path}: {len(data)} bytes; a job has at most {SIZE_LIMIT}")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{path}: byte {error.start} is not UTF-8; save the file as UTF-8 text") from None


def parse_job(text: str, source: str) -> ArcFaceTrainingJob:
    """The job in a YAML text; `source` is named in errors."""
    document = _parse_document(text, source)
    for field, expected in (("apiVersion", API_VERSION), ("kind", KIND)):
        if document.get(field) != expected:
            found = f"is {document[field]!r}" if field in document else "is missing"
            raise InvalidInput(f"{source}: {field} {found}; it must be {expected}")
    try:
        # By way of JSON, so that 1 for 1.0 and the like pass exactly where they pass at the API server.
        as_json = json.dumps(document, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"{source}: holds a value that JSON does not have ({error}); quote it") from None
    return ArcFaceTrainingJob.from_json(as_json, source)


def _parse_document(text: str, source: str) -> dict[str, Any]:
    """The one map in a YAML text."""
    try:
        document = _construct(JobLoader(text), source)
    except yaml.MarkedYAMLError as error:
        raise InvalidInput(f"{source}{_line(error)}: {_explain(error)}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InvalidInput(f"{source}: not valid YAML: {_one_line(error)}") from None
    if not isinstance(document, dict):
        raise InvalidInput(f"{source}: is {'empty' if document is None else 'not a map'}; it must be one {KIND}")
    return document


def _construct(loader: JobLoader, source: str) -> Any:
    """The document's value, None where there is none."""
    node = loader.get_single_node()
    if node is None:
        return None
    _check_node(node, source)
    return loader.construct_document(node)


def _line(error: yaml.MarkedYAMLError) -> str:
    """` line N` of an error, where known."""
    return "" if error.problem_mark is None else f" line {error.problem_mark.line + 1}"


def _explain(error: yaml.MarkedYAMLError) -> str:
    """What is wrong with the YAML."""
    if error.context == "expected a single document in the stream":
        return "a second document starts here; put each job into a file of its own"
    return _one_line(error.problem or error)


def _one_line(error: object) -> str:
    """The text of an error without line breaks."""
    return re.sub(r"\s+", " ", str(error)).strip()


def _check_node(root: yaml.Node, source: str) -> None:
    """Refuse doubled keys, of which YAML would silently drop one, and aliases that grow without bounds."""
    if _expanded_size(root, source, {}) > NODE_LIMIT:
        raise InvalidInput(f"{source}: grows beyond {NODE_LIMIT} nodes when its aliases are expanded")


def _expanded_size(node: yaml.Node, source: str, known: dict[int, int]) -> int:
    """Nodes below and with this one, each alias counted anew; `known` keeps what was counted once."""
    if id(node) in known:
        return known[id(node)]
    known[id(node)] = NODE_LIMIT + 1  # stands while its children are counted: an alias to an ancestor has no end
    size = 1
    if isinstance(node, yaml.MappingNode):
        _check_keys(node, source)
        size += sum(_expanded_size(child, source, known) for pair in node.value for child in pair)
    elif isinstance(node, yaml.SequenceNode):
        size += sum(_expanded_size(child, source, known) for child in node.value)
    known[id(node)] = size
    return size


def _check_keys(node: yaml.MappingNode, source: str) -> None:
    """Refuse a key that stands twice in one map."""
    seen: set[str] = set()
    for key, _ in node.value:
        name = key.value if isinstance(key, yaml.ScalarNode) else ""
        if name in seen:
            raise InvalidInput(f"{source} line {key.start_mark.line + 1}: key {name!r} stands twice; remove one")
        seen.add(name)
