"""The demo's own training, in a worker process: a small CNN on real handwritten digits.

scikit-learn ships 1,797 handwritten digits (8 × 8 pixels, 17 grey levels), the test set of
"Optical Recognition of Handwritten Digits", UCI Machine Learning Repository,
https://doi.org/10.24432/C50P49.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

HELD_OUT = 0.3
CALIBRATION = 100
EPOCHS = 30


def train(out: Path, *, seed: int) -> dict[str, Any]:
    """Train, and write ``digits.keras``, ``calibration.npz``, ``test.npz``, ``labels.txt``.

    The three sets are apart: calibration samples come from those trained on, test samples do not.
    """
    import keras
    import numpy as np
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    keras.utils.set_random_seed(seed)
    digits = load_digits()
    images = (digits.images / 16).astype(np.float32)[..., np.newaxis]
    x, x_test, y, y_test = train_test_split(
        images, digits.target, test_size=HELD_OUT, stratify=digits.target, random_state=seed
    )
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1), name="image"),
            layers.Conv2D(16, 3, padding="same", use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.Conv2D(32, 3, padding="same", use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.MaxPooling2D(),
            layers.Conv2D(64, 3, padding="same", use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.GlobalAveragePooling2D(),
            layers.Dropout(0.3),
            layers.Dense(10, activation="softmax", name="digit"),
        ],
        name="digits",
    )
    model.compile(
        keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(3e-3, EPOCHS * 40)),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    model.fit(x, y, batch_size=32, epochs=EPOCHS, verbose=0)
    accuracy = float(model.evaluate(x_test, y_test, verbose=0)[1])
    model.save(out / "digits.keras")
    np.savez(out / "calibration.npz", image=x[:CALIBRATION])
    np.savez(out / "test.npz", image=x_test, labels=y_test)
    (out / "labels.txt").write_text("".join(f"{digit}\n" for digit in digits.target_names))
    return {"accuracy": accuracy, "trained_on": len(x), "held_out": len(x_test)}
