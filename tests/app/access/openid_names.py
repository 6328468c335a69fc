"""What the provider of the tests calls the desk."""

CLIENT, SECRET = "steelsight-desk", "a secret of the provider's"
