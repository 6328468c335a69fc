"""One coil, from its record to what people decide by: coverage, acceptance, repeats, map, report. No SQL, no HTTP."""
