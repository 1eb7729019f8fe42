"""Make the pictures that the README shows: ``python docs/make_pictures.py``."""

from pathlib import Path

from layerkit.demo import draw_quantiles

if __name__ == "__main__":
    draw_quantiles(Path(__file__).parent / "quantiles.png")
