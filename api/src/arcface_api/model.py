"""Base of every type that crosses a process border."""

from typing import Self

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel

from arcface_api.errors import InvalidInput


class Model(BaseModel):
    """Frozen, camelCase outside, unknown fields and silent conversions refused.

    Users are held to that (`from_json`); what programs of ours tell each other is read with less rigour (`from_ours`),
    since they may be of releases that follow each other.
    """

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="forbid",
        frozen=True,
        strict=True,
        use_attribute_docstrings=True,
        allow_inf_nan=False,
    )

    @classmethod
    def from_json(cls, text: str | bytes, source: str) -> Self:
        """Parse JSON that a user has written.

        Args:
            text: the JSON document.
            source: file or place it came from, named in the error.

        Raises:
            InvalidInput: naming the source, the path of each wrong field and what it should be.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise InvalidInput(f"{source}: {describe(error)}") from None

    @classmethod
    def from_ours(cls, text: str | bytes, source: str) -> Self:
        """Parse JSON that a program of ours has written, perhaps a newer one: fields that it added are passed over.

        Args:
            text: the JSON document.
            source: file or place it came from, named in the error.

        Raises:
            InvalidInput: as `from_json` does, for all else.
        """
        try:
            return cls.model_validate_json(text, extra="ignore")
        except ValidationError as error:
            raise InvalidInput(f"{source}: {describe(error)}") from None

    def to_json(self) -> str:
        """Compact JSON with the outside names; absent values are left out."""
        return self.model_dump_json(by_alias=True, exclude_none=True)


def describe(error: ValidationError) -> str:
    """All faults of a validation in one line, each with the path of its field."""
    return "; ".join(
        f"{field_path(fault['loc'])}: {_message(fault['type'], fault['msg'])}"
        for fault in error.errors(include_url=False, include_context=False)
    )


def _message(kind: str, text: str) -> str:
    """What is wrong, in the words of the resource rather than of the validator."""
    if kind == "extra_forbidden":
        return "unknown field"
    if kind == "missing":
        return "required field is missing"
    return text.removeprefix("Value error, ").replace("\n", " ")


def field_path(location: tuple[str | int, ...]) -> str:
    """Dotted path as kubectl prints it, e.g. `spec.evaluation.sets[2]`."""
    path = ""
    for part in location:
        path += f"[{part}]" if isinstance(part, int) else f".{part}"
    return path.lstrip(".") or "document"
