"""A module for each page; importing it adds the page."""
