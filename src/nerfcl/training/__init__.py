"""The one training loop, the learner that it changes, evaluation, checkpoints, and optimisers."""
