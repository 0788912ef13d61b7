"""Networks that other processes load, which find functions of the tests themselves nowhere."""

import os
import signal

import numpy as np

from arcface_api.errors import InvalidInput
from support.builders.verification_set import corner_network


def load_corner():
    return corner_network


def load_own_card():
    """A network that tells which process computes and on what card."""
    card = float(os.environ["DEVICE_ID"])
    return lambda images: np.full((len(images), 2), card, np.float32)


def load_damaged(path):
    raise InvalidInput(f"{path}: is damaged")


def load_deadly():
    return lambda _images: os.kill(os.getpid(), signal.SIGKILL)
