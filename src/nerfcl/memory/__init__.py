"""What is kept of the past, in counted bytes: rays, image tiles, snapshots of models, cameras."""
