"""Launchers of pods, as far as the operator hears them."""

from typing import Any

from arcface_operator.controller.word_listener import Place
from arcface_operator.decision.observation import HeardWords
from arcface_operator.kubernetes.client import JobRef


class Listener:
    """Knows beforehand what the gang says, if anything, and notes where it was listened to."""

    def __init__(self, words: HeardWords | None = None) -> None:
        self.words = words
        self.places: list[Place | None] = []

    def listen(self, _ref: JobRef, place: Place) -> Any:
        self.places.append(place)
        return self.words

    def forget(self, _ref: JobRef) -> None:
        self.places.append(None)
