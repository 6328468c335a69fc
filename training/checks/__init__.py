"""What `python -m training check` is made of: one pass over the images, then findings from what it noted down."""
