"""A learner on a stream of frames: what it still knows of every frame and of every chunk."""
