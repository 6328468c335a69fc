"""The two ways in which a training command ends early, each with one line for the person at the terminal."""


class DataFault(Exception):
    """The data cannot carry what was asked of them: exit code 1."""


class UsageFault(Exception):
    """The command was put wrongly: exit code 2."""
