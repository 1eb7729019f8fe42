"""Make the pictures that the README shows: ``python docs/make_pictures.py``.

The health report is photographed as a browser shows it, so it needs Chromium (and Pillow, which
comes with matplotlib); it is left out where there is none.
"""

import shutil
import subprocess
import tempfile
from pathlib import Path

from layerkit import Dense, Sequential, Sigmoid
from layerkit.datasets import load_digits
from layerkit.demo import draw_quantiles
from layerkit.inspection import HealthMonitor, HealthReport
from layerkit.losses import CategoricalCrossEntropy
from layerkit.optimizers import SGD
from layerkit.training import train

STYLE = """
body {font: 13px/1.4 "Liberation Sans", Arial, sans-serif; margin: 0; padding: 12px}
table {border-collapse: collapse; margin: 0.6em 0; font-size: 12px}
td, th {padding: 0.35em 0.5em}
thead {border-bottom: 1px solid}
tbody tr:nth-child(odd) {background: #f5f5f5}
"""


def sick_report() -> HealthReport:
    """A stack of sigmoids, trained on the digits for eight epochs."""
    X, y = load_digits()
    hidden = [layer for _ in range(5) for layer in (Dense(64), Sigmoid())]
    network, monitor = Sequential([*hidden, Dense(10)]), HealthMonitor()
    data = X.reshape(-1, 64), y
    train(
        network,
        CategoricalCrossEntropy(),
        SGD(learning_rate=0.05),
        data,
        epochs=8,
        callbacks=[monitor],
        random_state=0,
    )
    return monitor.report(*data)


def photograph(page: str, path: Path, size: tuple[int, int], browser: str) -> None:
    """Show a page in a browser window of this size; save what it shows in few colours."""
    from PIL import Image

    with tempfile.TemporaryDirectory() as folder:
        source, shot = Path(folder) / "page.html", Path(folder) / "shot.png"
        source.write_text(f"<meta charset=utf-8><style>{STYLE}</style>{page}", encoding="utf-8")
        options = ["--headless", "--no-sandbox", "--hide-scrollbars"]
        options += ["--force-device-scale-factor=1.5", "--window-size={},{}".format(*size)]
        command = [browser, *options, f"--screenshot={shot}", source.as_uri()]
        subprocess.run(command, check=True, capture_output=True)
        picture = Image.open(shot).convert("RGB")
        picture = picture.quantize(96, method=Image.Quantize.MAXCOVERAGE)
        picture.save(path, optimize=True)


if __name__ == "__main__":
    docs = Path(__file__).parent
    draw_quantiles(docs / "quantiles.png")
    if browser := shutil.which("chromium") or shutil.which("google-chrome"):
        photograph(sick_report()._repr_html_(), docs / "health.png", (940, 590), browser)
    else:
        print("health.png needs Chromium: left as it is")
