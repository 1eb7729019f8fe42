"""Which parts of an input an output depends on: the gradient with respect to the input."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from layerkit.inspection.displays.display import Display
from layerkit.inspection.paths import check_network
from layerkit.layer import Layer
from layerkit.losses import Loss


def input_gradient(
    network: Layer, x: ArrayLike, targets: ArrayLike | None = None, loss: Loss | None = None
) -> np.ndarray:
    r"""Gradient of an output, or of the loss, with respect to the input.

    .. math:: \frac{\partial y_{s, t_s}}{\partial x_s} \quad \text{or} \quad
              \frac{\partial L(y, t)}{\partial x}

    Parameters
    ----------
    network : Layer
        Built. Runs in inference mode, on a copy.
    x : array of shape (n_samples, ...)
        Its input.
    targets : array, optional
        Without a loss: for each sample the position of an output, by default that of its largest.
        With a loss: its targets.
    loss : Loss, optional
        Differentiate it in place of an output; it is the mean over the samples.

    Returns
    -------
    gradient : ndarray
        Shaped like ``x``.

    Raises
    ------
    ValueError
        If the targets do not fit, or the network passes no gradient to its input.

    References
    ----------
    Simonyan, Vedaldi and Zisserman, "Deep inside convolutional networks: visualising image
    classification models and saliency maps", ICLR 2014 workshop, arXiv:1312.6034.

    Examples
    --------
    >>> from layerkit import Dense
    >>> layer = Dense(2).build(3, dtype="float64")
    >>> layer.params["W"][...] = [[1, 2], [3, 4], [5, 6]]
    >>> input_gradient(layer, [[1.0, 1.0, 1.0], [0.0, 0.0, 0.0]], targets=[0, 1]).tolist()
    [[1.0, 3.0, 5.0], [2.0, 4.0, 6.0]]
    """
    check_network(network)
    network = copy.deepcopy(network)
    network.needs_input_grad = True
    y = network.forward(np.asarray(x))
    if loss is None:
        start = _one_output_each(y, targets)
    else:
        loss = copy.copy(loss)
        loss.forward(y, targets)  # type: ignore[arg-type]
        start = loss.backward()
    gradient = network.backward(start)
    if gradient is None:
        raise ValueError(f"in {network.where}: passes no gradient to its input")
    return gradient


def _one_output_each(y: np.ndarray, targets: ArrayLike | None) -> np.ndarray:
    rows = y.reshape(len(y), -1)
    chosen = rows.argmax(axis=1) if targets is None else np.asarray(targets)
    if chosen.shape != (len(y),) or chosen.dtype.kind not in "iu":
        raise ValueError(
            f"targets must be the position of one output for each of the {len(y)} samples, "
            f"got {chosen.dtype} of shape {chosen.shape}"
        )
    if ((chosen < 0) | (chosen >= rows.shape[1])).any():
        raise ValueError(f"targets must be from 0 to {rows.shape[1] - 1}, got {chosen.tolist()}")
    return (np.arange(rows.shape[1]) == chosen[:, np.newaxis]).astype(y.dtype).reshape(y.shape)


class SaliencyDisplay(Display):
    """Images above the size of the gradient at each of their pixels.

    Bright pixels are those whose change would change the output most, the largest gradient of its
    channels counting; each map is scaled to its own largest.

    Parameters
    ----------
    images : array of shape (n_images, height, width, channels)
        With one channel, or three for red, green and blue in [0, 1].
    gradients : array like images
        What `input_gradient` returned.
    titles : sequence of str, optional
        One for each image.

    See Also
    --------
    Display : What ``plot`` takes and sets.
    input_gradient : The gradients.

    Examples
    --------
    >>> import numpy as np
    >>> from layerkit import Dense, Flatten, Sequential
    >>> net = Sequential([Flatten(), Dense(2)]).build((4, 4, 1), random_state=0)
    >>> display = SaliencyDisplay.from_network(net, np.ones((3, 4, 4, 1)))
    >>> display.saliency.shape, float(display.saliency.max())
    ((3, 4, 4), 1.0)
    """

    def __init__(
        self, images: ArrayLike, gradients: ArrayLike, titles: Sequence[str] | None = None
    ) -> None:
        self.images, self.gradients = np.asarray(images), np.asarray(gradients)
        shape = self.images.shape
        drawable = len(shape) == 4 and shape[3] in (1, 3) and 0 not in shape
        if not drawable or self.gradients.shape != shape:
            raise ValueError(
                "images and gradients must both have shape (n_images >= 1, height, width, 1 or 3), "
                f"got {shape} and {self.gradients.shape}"
            )
        self.titles = list(titles or [""] * len(self.images))
        if len(self.titles) != len(self.images):
            raise ValueError(f"{len(self.images)} images need as many titles, got {self.titles!r}")

    @classmethod
    def from_network(
        cls,
        network: Layer,
        images: ArrayLike,
        targets: ArrayLike | None = None,
        loss: Loss | None = None,
        titles: Sequence[str] | None = None,
    ) -> SaliencyDisplay:
        """Differentiate an output or the loss with `input_gradient`.

        Parameters
        ----------
        network : Layer
            Built.
        images : array of shape (n_images, height, width, channels)
            Its input.
        targets : array, optional
            As for `input_gradient`.
        loss : Loss, optional
            As for `input_gradient`.
        titles : sequence of str, optional
            One for each image.

        Returns
        -------
        display : SaliencyDisplay
            To be drawn by `plot`.
        """
        return cls(images, input_gradient(network, images, targets, loss), titles)

    @property
    def saliency(self) -> np.ndarray:
        """Largest absolute gradient of each pixel's channels, at most 1 in each image."""
        size = np.abs(self.gradients).max(axis=3)
        largest = size.max(axis=(1, 2), keepdims=True)
        return size / np.where(largest > 0, largest, 1)

    @property
    def figsize(self) -> tuple[float, float]:
        return 1.5 * len(self.images) + 1.6, 3.6

    def panels(self) -> dict[str, Any]:
        return {"nrows": 2, "ncols": len(self.images)}

    def draw(self, axes: np.ndarray) -> None:
        for column, (image, size, title) in enumerate(
            zip(self.images, self.saliency, self.titles, strict=True)
        ):
            above, below = axes[:, column]
            above.imshow(image if image.shape[2] == 3 else image[..., 0], cmap="gray")
            drawn = below.imshow(size, cmap="viridis", vmin=0, vmax=1)
            above.set_title(title)
        for ax in axes.flat:
            ax.set(xticks=[], yticks=[])
            ax.grid(False)
            ax.spines[:].set_visible(False)
        axes[0, 0].set_ylabel("image")
        axes[1, 0].set_ylabel("saliency")
        axes[0, 0].figure.colorbar(drawn, ax=axes[1], label="|gradient|\nof its largest",
                                   ticks=[0, 0.5, 1])  # fmt: skip
