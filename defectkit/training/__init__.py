"""One epoch of training, validation, checkpoints, the learning rate, the run's folder."""
