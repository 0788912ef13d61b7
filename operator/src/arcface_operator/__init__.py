"""Turns an ArcFaceTrainingJob into pods: manifests and the local runner."""
