"""Sizes of training sets, and the gang that the literature trains with."""

from typing import Any

from arcface_operator.preflight.data import Counts

MS1MV2 = Counts(identities=85_742, images=5_822_653)
EIGHT: dict[str, Any] = {"workers": {"accelerator": "ascend", "devicesPerWorker": 8}}
