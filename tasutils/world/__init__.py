"""RefScenes, the embedded world: things, scenes, expressions, and training of the tiny models."""
