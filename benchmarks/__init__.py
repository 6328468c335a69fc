"""Measured claims: each script prints what it compared, on what and how often, and writes the figures as JSON."""
