"""One module for each runtime that computes logits; `model.engine` says what they have in common and opens them."""
