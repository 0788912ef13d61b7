"""Images to embed under their names: files below a folder or of a list, training sets, pair sets."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from arcface_api.errors import InvalidInput, explained
from arcface_faces import delimited, positioned_file, progress
from arcface_faces.datasets import dataset, record_dataset
from arcface_faces.embedding import embedder
from arcface_faces.image_files import framing, tree
from arcface_faces.images import Image
from arcface_faces.pairs.pair_set import PairSet


class NamedImages(Protocol):
    """Images that are made when they are asked for, and what each is called."""

    def __len__(self) -> int: ...

    def image(self, number: int, /) -> Image:
        """One of them, as the network takes it."""

    def name(self, number: int, /) -> list[str]:
        """Name of one of them, and its identity where that is known."""


@dataclass(frozen=True, slots=True)
class FileImages:
    """Files, by their paths relative to a folder."""

    folder: Path
    names: list[str]
    frame: framing.Framing

    def __len__(self) -> int:
        """Number of images."""
        return len(self.names)

    def image(self, number: int, /) -> Image:
        """One of them, framed."""
        name = self.names[number]
        path = self.folder / name
        with explained(
            path, "cannot be read", "give this user the right to read it, or mend a link that leads nowhere"
        ):
            data = positioned_file.read_regular(path)
        return self.frame(data, name, str(path))

    def name(self, number: int, /) -> list[str]:
        """As listed."""
        return [self.names[number]]


@dataclass(frozen=True, slots=True)
class TrainingImages:
    """A training set, in its order."""

    directory: Path
    faces: dataset.FaceDataset
    frame: framing.Framing

    def __len__(self) -> int:
        """Number of images."""
        return len(self.faces.labels)

    def image(self, number: int, /) -> Image:
        """One of them, framed."""
        name, _ = self.name(number)
        return self.frame(self.faces.image_bytes(number), name, self.faces.where(number))

    def name(self, number: int, /) -> list[str]:
        """Key in the records or path below the folder, and identity."""
        if isinstance(self.faces, record_dataset.RecordDataset):
            name = str(self.faces.index.columns["keys"][number])
        else:
            name = str(Path(self.faces.where(number)).relative_to(self.directory))
        return [name, str(self.faces.labels[number])]


@dataclass(frozen=True, slots=True)
class PairImages:
    """The images of a pair set, two a pair."""

    pair_set: PairSet

    def __len__(self) -> int:
        """Number of images."""
        return len(self.pair_set)

    def image(self, number: int, /) -> Image:
        """One of them."""
        return self.pair_set.image(number)

    def name(self, number: int, /) -> list[str]:
        """Its number."""
        return [str(number)]


@dataclass(frozen=True, slots=True)
class ChosenImages:
    """Some of other images, in their order."""

    images: NamedImages
    numbers: list[int]

    def __len__(self) -> int:
        """Number of images."""
        return len(self.numbers)

    def image(self, number: int, /) -> Image:
        """One of them."""
        return self.images.image(self.numbers[number])

    def name(self, number: int, /) -> list[str]:
        """As it is called there."""
        return self.images.name(self.numbers[number])


def open_files(path: Path, links: tree.Links | None, frame: framing.Framing, *, may_lack: bool = False) -> FileImages:
    """The images below a folder, or those of a list with a path a line, relative to the list's folder.

    Raises:
        InvalidInput: naming the first line of a list that can be no path, or whose file is missing unless it `may_lack`
            some; for `links`, since it leads anywhere.
    """
    with explained(path, "cannot be looked into", "correct --images"):
        if path.is_dir():
            return FileImages(path, tree.ImageTree(path, links or "inside").names(), frame)
    if links is not None:
        raise InvalidInput(f"--links is for a folder of images: leave it out with the list {path}")
    names = []
    for number, line in enumerate(delimited.read_lines(path, "--images is a folder or a list of files"), start=1):
        if not (name := line.strip()):
            continue
        with explained(f"{path} line {number}", "cannot be looked for", "correct the list"):
            if "\0" in name or not (may_lack or (path.parent / name).is_file()):
                raise InvalidInput(f"{path} line {number}: there is no file {name[:80]!a}: a line is a path from here")
        names.append(name)
    if not names:
        raise InvalidInput(f"{path}: names no images")
    return FileImages(path.parent, names, frame)


def check_landmarks(images: NamedImages) -> None:
    """InvalidInput names the first image that the list of landmarks leaves out, where they are aligned by one."""
    if isinstance(images, FileImages | TrainingImages) and isinstance(images.frame, framing.ByLandmarks):
        for number in range(len(images)):
            images.frame.listed.of(images.name(number)[0])


def usable_images(images: NamedImages, advance: progress.Advance) -> tuple[ChosenImages, list[tuple[int, str]]]:
    """The images that can be used, and the numbers of the others with what is wrong; all are decoded for it."""

    def fault(number: int) -> str | None:
        try:
            images.image(number)
        except InvalidInput as error:
            return str(error)
        return None

    chosen, dropped = [], []
    with ThreadPoolExecutor(embedder.decoding_threads(), thread_name_prefix="check") as pool:
        for number, found in enumerate(pool.map(fault, range(len(images)))):
            advance(1)
            if found is None:
                chosen.append(number)
            else:
                dropped.append((number, found))
    return ChosenImages(images, chosen), dropped
