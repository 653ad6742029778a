"""Find the labels of a vocabulary that a set of scripts can be written with.

A client that lists its languages gets no letters of other scripts: among frames that
the model is not sure of, it often has single letters of a script that it knows from
elsewhere. Labels are left out before the most likely one is chosen; probabilities stay
those over all labels, so that a wrong list shows in the confidence.

Pure: no I/O, clock, settings or threads.
"""

import numpy as np
from numpy.typing import NDArray

from languages.scripts import writer
from text.ctc import Vocabulary


def allowed_labels(
    vocabulary: Vocabulary, scripts: frozenset[str]
) -> NDArray[np.int64]:
    """Return the labels that may be written, in order.

    Blank and other control symbols, which write nothing, are always among them.

    Args:
        vocabulary: Vocabulary of the model.
        scripts: ISO 15924 codes of scripts, as in the ids of languages.
    """
    can_write = writer(scripts)
    return np.flatnonzero([can_write(text) for text in vocabulary.texts])
