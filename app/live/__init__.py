"""The line as it is now: what was committed a moment ago, and each camera's last picture."""
