"""The training loop, the learner, evaluation, callbacks, checkpoints and optimisers."""
