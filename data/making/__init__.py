"""The programs that made what lies in `data`: RefScenes, its sprites, and the tiny weights."""
