"""From `model.explain`'s numbers to a folder a person can read: pictures, and one page that teaches.

`python -m training explain VERSION IMAGE --out DIR`
"""

from training.explain.folder import explain_image

__all__ = ["explain_image"]
