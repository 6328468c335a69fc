"""The operator's desk: a process of its own that shows what the API says, and asks it for what people decide."""
