"""The service: HTTP in front of `model`. Rooms are wired together in `main` and nowhere else."""
