"""Procedural rolled steel with masks, written in the data-folder contract: for demos and tests.

No pixel of a photograph is in it. A score on it says that the path from folder to verdict works; it says
nothing about how well a network sees the plant's own steel.
"""

from synthetic.folder import SynthesisSummary, synthesize

__all__ = ["SynthesisSummary", "synthesize"]
