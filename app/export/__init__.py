"""The list of inspections as a file, written while it is sent: a million rows take no more memory than a thousand."""
