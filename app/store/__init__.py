"""The record: what was seen where, by which model version, what a person said of it, and what was never inspected."""
