"""The log of a run as TensorBoard's event files (extra: `pip install "distmatch[tensorboard]"`)."""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from distmatch.errors import BadInput

SUFFIX = ".distmatch"  # marks the files that this module wrote, and may replace


def write_events(
    log: Sequence[Mapping[str, Any]],
    folder: str | os.PathLike[str],
    pictures: Mapping[str, bytes] | None = None,
) -> None:
    """Write each number of the log as a scalar at its step, and PNG pictures at the last step.

    Event files that an earlier call left in the folder are replaced; files of others stay.

    Arguments:
        log: parsed lines of `log.jsonl`, each a flat dict with "step" and named numbers.
        pictures: caption -> PNG bytes.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_events([{"step": 0, "nll": 200.0}, {"step": 1, "nll": 150.0}], folder)
    ...     len(list(Path(folder).glob("events.out.tfevents.*")))
    1
    """
    import numpy as np
    from PIL import Image

    writer_class = _summary_writer()
    folder = Path(folder)
    old = list(folder.glob(f"events.out.tfevents.*{SUFFIX}"))
    # TensorBoard names a file by the second and the process: make way for one of the same name.
    for path in old:
        path.unlink()
    writer = writer_class(log_dir=str(folder), filename_suffix=SUFFIX)
    try:
        step = 0
        for line in log:
            step = int(line.get("step", step))
            for name, value in line.items():
                if name != "step" and isinstance(value, int | float) and not isinstance(value, bool):
                    writer.add_scalar(name, float(value), step)
        for caption, png in (pictures or {}).items():
            with Image.open(io.BytesIO(png)) as image:
                pixels = np.asarray(image.convert("RGB"))
            writer.add_image(caption, pixels, step, dataformats="HWC")
    finally:
        writer.close()


def _summary_writer() -> Any:
    try:
        with warnings.catch_warnings():  # tensorboard and its protobuf warn of their own deprecations
            warnings.simplefilter("ignore", DeprecationWarning)
            from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise BadInput('TensorBoard is not installed; run: pip install "distmatch[tensorboard]"') from error
    return SummaryWriter
