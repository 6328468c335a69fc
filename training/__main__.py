"""python -m training: see training.command."""

from model.interrupt import importing

with importing():
    from training.command import leave, main

if __name__ == "__main__":
    leave(main())
