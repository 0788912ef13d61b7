"""Types of the document: how the numbers of a set came about, by which programs, from which files."""

import hashlib
import os
from collections.abc import Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal, Protocol

from pydantic import AwareDatetime, Field

from arcface_api.command import REVISION
from arcface_api.errors import explained, printable
from arcface_api.model import Model
from arcface_api.resource.spec import Accelerator
from arcface_evaluator.report import searches
from arcface_faces.pairs.protocol import FOLDS, THRESHOLD_STEP, THRESHOLDS

PROGRAMS = ("arcface-evaluator", "mindspore", "numpy", "onnxruntime", "opencv-python-headless")
"""What decides the numbers, where it is installed."""


class PairProtocol(Model):
    """How the pairs were judged."""

    folds: int = FOLDS
    """Contiguous folds in the order of the file."""
    threshold_step: float = THRESHOLD_STEP
    """Thresholds are 0, one step, two steps and so on."""
    threshold_count: int = len(THRESHOLDS)
    """Number of thresholds tried."""
    same: Literal["squaredDistance < threshold"] = "squaredDistance < threshold"
    """When a pair is called the same; distances are between unit vectors."""
    ties: Literal["smallestThreshold"] = "smallestThreshold"
    """Which of equally good thresholds is taken."""
    std: Literal["population"] = "population"
    """Kind of the standard deviation."""
    flip: Literal["sum"] = "sum"
    """How the embeddings of original and mirrored image are joined where both are known."""


class IjbProtocol(Model):
    """How templates were made and compared."""

    pooling: Literal["meanOverMediaSumOverTemplate"] = "meanOverMediaSumOverTemplate"
    """How images make a template."""
    score: Literal["cosine"] = "cosine"
    """What a pair is judged by."""
    tar_at_far: Literal["nearest"] = "nearest"
    """Which of the two conventions `ijb[].tarAtFar` has."""


class InputFile(Model):
    """A file that the numbers depend on."""

    path: str
    """Where it was."""
    sha256: str
    """Hash of its bytes; of a folder of images that of their hashes in the order of the set."""
    of_set: bool = False
    """Whether it says who is compared with whom; earlier releases do not tell."""

    @classmethod
    def of(cls, path: Path, *, of_set: bool = False) -> "InputFile":
        """Hash a file that was read."""
        with explained(path, "cannot be read", "mend its rights"):
            found = path.stat()
            written = found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
            return cls(path=printable(str(path)), sha256=_digest(path, written), of_set=of_set)


@cache
def _digest(path: Path, _written: tuple[int, ...]) -> str:
    """Hash of a file as long as nobody writes it anew: a model is that of many sets."""
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def named_apart(paths: Sequence[Path]) -> dict[str, Path]:
    """Resolved paths, each once, by as much of their ends as tells them apart, as text."""
    ways = [path.relative_to(path.anchor).parts for path in paths]
    names: list[str] = []
    for count in range(1, max(map(len, ways)) + 1):
        names = [printable("/".join(way[-count:])) for way in ways]
        if len(set(names)) == len(names):
            break
    return dict(zip(names, paths, strict=True))


class HashedImages(Protocol):
    """A folder of images, hashed as one."""

    @property
    def folder(self) -> Path:
        """Where they are."""

    @property
    def sha256(self) -> str:
        """Of all of them."""


def hashed(of_set: Sequence[Path], others: Sequence[Path], images: HashedImages | None = None) -> list[InputFile]:
    """Files that say who is compared with whom, others, each once, and a folder of images that were embedded."""
    files = [InputFile.of(path, of_set=path in of_set) for path in dict.fromkeys([*of_set, *others])]
    folder = [] if images is None else [InputFile(path=printable(str(images.folder)), sha256=images.sha256)]
    return files + folder


AnyProtocol = PairProtocol | IjbProtocol | searches.IdentificationProtocol | searches.AllPairsProtocol


class SetRecord(Model):
    """How the numbers of one set came about."""

    dataset: str
    """Name of the set."""
    protocol: AnyProtocol
    """How it was judged."""
    images: int = Field(ge=0)
    """Images that were embedded."""
    inputs: list[InputFile] = Field(min_length=1)
    """What its numbers depend on: of a checkpoint the manifest, of a folder of images all of them as one."""
    accelerator: Accelerator | None = None
    """What a job's network computed on; commands and earlier releases do not tell."""
    versions: dict[str, str]
    """Of the programs that took part."""
    asked: list[str] = Field(default_factory=list)
    """Metrics that gates ask for."""
    measured: dict[str, float] = Field(default_factory=dict)
    """Those of them that the set can tell."""
    seconds: float = Field(ge=0)
    """From images, or their embeddings, to scores."""
    finished_at: AwareDatetime
    """When that was done."""

    def is_of(self, inputs: Sequence[InputFile], protocol: AnyProtocol, accelerator: Accelerator | None) -> bool:
        """Whether the programs here would find the same numbers on such inputs, wherever they lie."""
        own, others = ([file.sha256 for file in files] for files in (self.inputs, inputs))
        is_same_way = self.protocol == protocol and self.accelerator == accelerator
        return own == others and is_same_way and self.versions == versions()


def versions() -> dict[str, str]:
    """Of the programs here, and the commit of their image."""
    found = {"commit": os.environ[REVISION]} if os.environ.get(REVISION) else {}
    for program in PROGRAMS:
        try:
            found[program] = version(program)
        except PackageNotFoundError:
            continue
    return found
