"""The learner that frames are pushed into."""
