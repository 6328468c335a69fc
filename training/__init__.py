"""Labelled folder -> artifact. Offline; may be slow to import."""
