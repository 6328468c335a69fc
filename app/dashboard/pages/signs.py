"""Signs that look like letters: named, so that nobody takes one for another in the source."""

TIMES = "\u00d7"
MINUS = "\u2212"
# In the place of a figure that there is none of.
NONE = "\u2013"
