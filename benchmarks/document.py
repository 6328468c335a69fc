"""A document of figures: text by hand, and between two comments what a benchmark has measured.

    python -m benchmarks.document NAME [ARGUMENT ...]

runs `python -m benchmarks.NAME ARGUMENT ...`, shows what it prints, and puts that into the section NAME.
"""

import subprocess
import sys
from pathlib import Path

PERFORMANCE = Path(__file__).parents[1] / "docs" / "performance.md"


def write_section(document: Path, name: str, text: str) -> None:
    """Put the text between the document's comments of that name; a document that is not there is made."""
    before = document.read_text() if document.exists() else ""
    document.write_text(replace_section(before, name, text))


def replace_section(document: str, name: str, text: str) -> str:
    r"""The document with the text between the comments of that name; they are added at its end if it has none.

    >>> replace_section("a\n<!-- x: begin -->\nold\n<!-- x: end -->\nb", "x", "new")
    'a\n<!-- x: begin -->\nnew\n<!-- x: end -->\nb'

    Raises `ValueError` where only the first of the two comments is there.
    """
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    before, found, rest = document.partition(begin)
    _, closed, after = rest.partition(end)
    if found and not closed:
        raise ValueError(f"the document has {begin} but no {end} after it; put it back")
    return f"{before}{begin}\n{text}\n{end}{after if found else chr(10)}"


def main() -> None:
    """Nothing is replaced where the benchmark fails; its exit code is passed on."""
    if len(sys.argv) < 2:
        raise SystemExit("usage: python -m benchmarks.document NAME [ARGUMENT ...]")
    name, *arguments = sys.argv[1:]
    printed = []
    command = [sys.executable, "-u", "-m", f"benchmarks.{name}", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as benchmark:
        for line in benchmark.stdout or ():
            print(line, end="", flush=True)
            # Where the JSON lies is of this machine, not of the figures.
            if not line.startswith("written to "):
                printed.append(line)
    if benchmark.returncode:
        raise SystemExit(benchmark.returncode)
    write_section(PERFORMANCE, name, "".join(printed).strip())


if __name__ == "__main__":
    main()
