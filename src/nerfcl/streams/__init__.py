"""Scene -> stream: what a learner is shown, one experience after the other; pixels of it, and how they are sampled."""
