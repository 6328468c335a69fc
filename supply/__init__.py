"""What comes from others: which licences we take, and what a release is made of."""
