"""Labelled folder -> artifact. Offline; may be slow to import."""

import os

# TensorFlow leaves its faster kernels (oneDNN) off on processors without AVX-512, where a step of a fit takes up to two
# and a half times as long without them. It reads this when it is first imported, which every part of ours does later.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
