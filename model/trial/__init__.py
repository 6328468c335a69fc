"""A version on trial: loaded and asked for known scores in a process that can do no harm, before it serves."""
