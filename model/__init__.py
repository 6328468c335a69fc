"""Pixels -> verdict. No HTTP, no database, no fitting."""
