"""The two ways in which a training command ends early, each with one line for the person at the terminal."""


def printable(text: str) -> str:
    r"""Text as one line that a terminal and a UTF-8 file can take.

    File names may hold line ends, broken characters, and escapes that would move the cursor or hide what was said.

    >>> printable("a\nb"), printable("Fläche")
    ('a\\nb', 'Fläche')
    """
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )


class DataFault(Exception):
    """The data cannot carry what was asked of them: exit code 1."""


class UsageFault(Exception):
    """The command was put wrongly: exit code 2."""
