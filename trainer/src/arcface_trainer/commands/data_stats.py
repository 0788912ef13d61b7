"""Counts of a training set."""

from pathlib import Path

import numpy as np

from arcface_api.contract.reports import DataStats
from arcface_faces.datasets.dataset import FaceDataset, ImageFolderDataset


def stats_of(faces: FaceDataset, directory: Path) -> DataStats:
    """Images and identities that a training would use."""
    counts = np.bincount(faces.labels)
    return DataStats(
        directory=str(directory),
        layout="folder" if isinstance(faces, ImageFolderDataset) else "records",
        images=len(faces.labels),
        identities=faces.class_count,
        dropped_identities=faces.dropped_identities,
        fewest_images=int(counts.min()),
        median_images=float(np.median(counts)),
        most_images=int(counts.max()),
    )
