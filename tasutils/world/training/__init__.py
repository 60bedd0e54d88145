"""Training of the tiny models on scenes drawn on the fly; never needed to run the project."""
