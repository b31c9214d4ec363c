"""The flat training loop and what it keeps: checkpoints, schedules, history."""
