"""What the network saw in one frame, told in JSON and pictures: the work of `python -m app.explain`.

That process is one of its own because it imports TensorFlow, which the server does not; `app.explaining` keeps it.
"""
