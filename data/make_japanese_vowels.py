"""Make japanese_vowels.npz from the copy in aeon 1.6.0's wheel.

``python data/make_japanese_vowels.py FOLDER``, where FOLDER holds JapaneseVowels_TRAIN.ts and
JapaneseVowels_TEST.ts (``aeon/datasets/data/JapaneseVowels`` in the wheel).
"""

import sys
from pathlib import Path

import numpy as np


def recordings(path):
    """Yield the steps (time, 12) and the speaker, 1 to 9, of each recording in a .ts file."""
    lines = path.read_text().splitlines()
    for line in lines[lines.index("@data") + 1 :]:
        *channels, speaker = line.split(":")
        yield np.array([channel.split(",") for channel in channels], float).T, int(speaker)


def japanese_vowels(folder):
    """Steps end to end in units of 1e-4, the length of each recording, and its speaker, 0 to 8."""
    files = (folder / f"JapaneseVowels_{part}.ts" for part in ("TRAIN", "TEST"))
    rows, speakers = zip(*(one for path in files for one in recordings(path)), strict=True)
    steps = np.round(1e4 * np.concatenate(rows)).astype(np.int16)
    lengths = np.array([len(row) for row in rows], np.uint8)
    return steps, lengths, np.array(speakers, np.uint8) - 1


if __name__ == "__main__":
    steps, lengths, labels = japanese_vowels(Path(sys.argv[1]))
    # NumPy dates every member 1980-01-01, so the same arrays give the same bytes.
    np.savez_compressed(
        Path(__file__).with_name("japanese_vowels.npz"), steps=steps, lengths=lengths, labels=labels
    )
