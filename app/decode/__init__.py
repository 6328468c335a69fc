"""The processes that decode: what a client sent is taken apart where it can reach nothing and spoil nothing.

`__main__` is the keeper that forks them, `child` one of them, `wire` what they and the server say to each other.
"""
