"""Checkpoints in object storage and on web servers, read range by range."""
