"""Reading a job from a YAML file, with the strictness of the API server and errors that name line and field."""

import json
import re
from pathlib import Path
from typing import Any

import yaml

from arcface_api.errors import InvalidInput, explained
from arcface_api.names import API_VERSION, KIND
from arcface_api.resource.job import ArcFaceTrainingJob

SIZE_LIMIT = 1 << 18
"""Bytes; jobs have a few thousand, and each costs microseconds."""
NODE_LIMIT = 10_000
"""Nodes of the document, as it is written and after its aliases are expanded."""
DEPTH_LIMIT = 32
"""Levels, each of which PyYAML looks at again for every word below it."""
EXPONENT = re.compile(r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)[eE][-+]?[0-9]+$")
YAML = "tag:yaml.org,2002:"
TEXT, INT, FLOAT, TIMESTAMP = f"{YAML}str", f"{YAML}int", f"{YAML}float", f"{YAML}timestamp"
MAP, SEQUENCE, MERGE = f"{YAML}map", f"{YAML}seq", f"{YAML}merge"


class JobLoader(yaml.SafeLoader):
    """Plain values only, read as kubectl reads them: 2024-05-06 and 1:30 stay text, 5e-4 is a number without a dot."""

    nodes = depth = 0

    def resolve(self, kind: type[yaml.Node], value: str | None, implicit: Any) -> str:
        """What a value is: neither a date nor a number to the base of 60, which Kubernetes' YAML does not have."""
        tag: str = super().resolve(kind, value, implicit)  # type: ignore[no-untyped-call]
        return TEXT if tag == TIMESTAMP or (tag in {INT, FLOAT} and ":" in (value or "")) else tag

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """A node with all below it; MarkedYAMLError where they are too many or too deep, or tagged as what they aren't.

        PyYAML's constructors trust tags: `!!int ""` ends in an IndexError.
        """
        self.nodes += 1
        self.depth += 1
        if self.nodes > NODE_LIMIT or self.depth > DEPTH_LIMIT:
            problem = f"more than {NODE_LIMIT} values, or {DEPTH_LIMIT} within each other"
            place = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=place)
        node = super().compose_node(parent, index)
        self.depth -= 1
        if node is not None and not self._is_tagged_rightly(node):
            problem = f"no {node.tag.removeprefix(YAML):.80}; leave its tag out"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)
        return node

    def _is_tagged_rightly(self, node: yaml.Node) -> bool:
        if not isinstance(node, yaml.ScalarNode):
            return node.tag == (MAP if isinstance(node, yaml.MappingNode) else SEQUENCE)
        found = self.resolve(yaml.ScalarNode, node.value, (True, False))
        return node.tag in {TEXT, found} or (node.tag == FLOAT and found == INT)


JobLoader.add_implicit_resolver(FLOAT, EXPONENT, list("-+.0123456789"))


def read_job(path: Path) -> ArcFaceTrainingJob:
    """The one job that a file describes."""
    return parse_job(_read_text(path), str(path))


def _read_text(path: Path) -> str:
    """Content of the file."""
    with explained(path, "cannot be read", "give the job's YAML file with -f"), path.open("rb") as file:
        data = file.read(SIZE_LIMIT + 1)
    if len(data) > SIZE_LIMIT:
        raise InvalidInput(f"{path}: has more than {SIZE_LIMIT} bytes, which is no job")
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
    """Refuse a key that stands twice in one map, or may stand there twice in other words, as 1 and 0x1 do."""
    seen: set[str] = set()
    for key, _ in node.value:
        place = f"{source} line {key.start_mark.line + 1}"
        if key.tag not in {TEXT, MERGE}:
            name = repr(key.value) if isinstance(key, yaml.ScalarNode) else "of several values"
            raise InvalidInput(f"{place}: key {name} is no text; quote it")
        if key.value in seen:
            raise InvalidInput(f"{place}: key {key.value!r} stands twice; remove one")
        seen.add(key.value)
