"""The data root saved, put back and checked: `python -m app backup | restore | verify`."""
