"""Pixels -> verdict. No HTTP, no database, no fitting."""

import os

# TensorFlow leaves its faster kernels (oneDNN) off on processors without AVX-512, where a step of a fit takes up to
# twice as long without them. It reads this once, when it is first imported, and every part that does imports us first.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
