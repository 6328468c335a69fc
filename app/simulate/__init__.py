"""A line to try the service on: a coil that is drawn, or a folder of frames, sent as cameras would send it.

A client like any other: it knows the HTTP API and nothing of the server's inside.
"""
