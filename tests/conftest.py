"""Fixtures shared by all tests."""

import os

# Read by oneDNN and MindSpore when they are loaded: see arcface_trainer.device.
os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX2")
os.environ.setdefault("GLOG_v", "3")

from pathlib import Path

import hypothesis
import pytest

# How long an example takes is the machine's affair.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")

# What these assert is shown with its values, as in a test itself.
pytest.register_assert_rewrite("support", "testbed")

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def faces() -> Path:
    """Folder of the real aligned faces; tests that need them are skipped where it is absent."""
    folder = Path(os.environ.get("ARCFACE_FACES", ROOT.parent / "shared" / "data" / "lfw"))
    if not (folder / "train.rec").is_file():
        pytest.skip(f"no real faces at {folder} (set ARCFACE_FACES)")
    return folder
