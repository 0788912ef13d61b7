"""Builders of the objects that a job consists of: pure functions from the job and the settings to a manifest."""
