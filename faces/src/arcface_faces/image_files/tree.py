"""Image files below a folder, by name or all of them, and where links may lead."""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from arcface_api.errors import InvalidInput, explained
from arcface_faces import whole_file
from arcface_faces.image_files import suffixes

Links = Literal["inside", "anywhere"]
"""Whether links are followed within the folder alone or wherever they lead."""
LINKS: tuple[Links, ...] = get_args(Links)
LONGEST_SHOWN = 80
"""Letters of a name that a message shows."""
MEND = "correct the path or give this user the right to read it"


@dataclass(frozen=True, slots=True)
class ImageTree:
    """A folder of images, in subfolders of any depth."""

    folder: Path
    links: Links = "inside"

    def find(self, name: str) -> Path:
        """The file of an image that a list names, with its suffix or without; InvalidInput where there is none."""
        shown = name[:LONGEST_SHOWN]
        try:
            with explained(shown, "cannot be looked for", "correct the list"):
                found = next((path for path in self._candidates(name) if path.is_file()), None)
                if found is None:
                    raise InvalidInput(shown)
                self.check_place(found, shown)
        except ValueError as error:  # a name with a zero byte
            raise InvalidInput(f"{shown!a}: {error}") from None
        return found

    def names(self) -> list[str]:
        """All images below the folder, in the order of their names; hidden files are left out, others told of.

        Raises:
            InvalidInput: where there are none, or a link leads out of the folder and may not.
        """
        others = Counter[str]()
        names = sorted(self._walk(self.folder, frozenset(), others))
        if not names:
            raise InvalidInput(f"{self.folder}: holds no images ({suffixes.others_told(others)})")
        suffixes.warn_of_others(self.folder, others)
        return names

    def _candidates(self, name: str) -> Iterator[Path]:
        path = self.folder / name
        if not name or path == self.folder or Path(name).is_absolute() or ".." in Path(name).parts:
            return
        yield path
        if not suffixes.is_image(path.suffix):
            yield from (path.with_name(path.name + suffix) for suffix in suffixes.SUFFIXES)

    def check_place(self, path: Path, shown: str) -> None:
        """InvalidInput, naming what is `shown`, where a path leads out of the folder and may not."""
        if self.links == "inside" and not whole_file.real(path).is_relative_to(whole_file.real(self.folder)):
            raise InvalidInput(f"{shown}: leads out of {self.folder} by a link: allow it with --links anywhere")

    def _walk(self, folder: Path, above: frozenset[Path], others: Counter[str]) -> Iterator[str]:
        """Names below the tree's folder of the images in one of its folders.

        Args:
            folder: the one.
            above: real folders on the way.
            others: counts files that are none, by the ends of their names.
        """
        with explained(folder, "cannot be listed", MEND):
            real = folder.resolve()
            if real in above:
                return  # a link to a folder that it lies in
            with os.scandir(folder) as found:
                entries = [entry for entry in found if not entry.name.startswith(".")]
        for entry in entries:
            path = Path(entry.path)
            if path.is_dir() if entry.is_symlink() else entry.is_dir():  # of links in a circle the entry cannot tell
                self.check_place(path, entry.path)
                yield from self._walk(path, above | {real}, others)
            elif suffixes.is_image(path.suffix):
                self.check_place(path, entry.path)
                yield str(path.relative_to(self.folder))
            else:
                others[path.suffix.lower()] += 1
