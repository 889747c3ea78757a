"""Lightning's and timm's advice that does not apply here, kept off the user's screen."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

# Each is about a choice that this program makes on purpose.
NOT_APPLICABLE = (
    ".*does not have many workers.*",  # a cached data set on few cores is faster without workers
    ".*The number of training batches.*smaller than the logging interval.*",  # few-image data sets
    ".*Checkpoint directory .* exists and is not empty.*",  # resuming into it is the point
    ".*GPU available but not used.*",  # the user said trainer=cpu
    ".*LeafSpec.*deprecated.*",  # torch.utils._pytree, used inside Lightning
    ".*`isinstance\\(treespec, LeafSpec\\)` is deprecated.*",
)


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Hide the banners and the warnings above while a Trainer works; errors, Ctrl-C and all other warnings pass."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric", "timm")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        for message in NOT_APPLICABLE:
            warnings.filterwarnings("ignore", message)
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        except SystemExit:  # what Lightning makes of Ctrl-C
            raise KeyboardInterrupt from None
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
