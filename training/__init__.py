"""Labelled folder -> artifact. Offline; may be slow to import."""

# Before anything here imports TensorFlow: `model` says how that is to compute.
import model  # noqa: F401
