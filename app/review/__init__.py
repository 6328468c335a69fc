"""The review loop: which frames a person should look at, what their labels tell of the model, and how they teach it."""
