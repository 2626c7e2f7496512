"""Memories of the past, measured in bytes: rays, image tiles, snapshots of models, cameras."""
