"""Run the server's own program with a scripted model.

    python -m tests.support.scripted_server FOLDER PATIENCE_S

PATIENCE_S is the time after which a pass without an end counts as stuck. What the model
does depends on files in the folder, which a test makes and removes:

`hang`  a pass does not end while it is there,
`fail`  each pass raises an error,
`die`   a pass ends the model's thread.
"""

import sys
import time
from collections.abc import Sequence
from pathlib import Path

import server
from engine import watchdog
from engine.interface import ModelInput
from tests.support.fakes import ScriptedModel
from text.ctc import FrameLabels


class ModelOfFiles(ScriptedModel):
    """A scripted model that a test in another process controls.

    Args:
        folder: Folder of the test's files.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder

    def label_frames(self, windows: Sequence[ModelInput]) -> list[FrameLabels]:
        while (self._folder / "hang").exists():
            time.sleep(0.01)
        if (self._folder / "fail").exists():
            raise ValueError("a scripted failure")
        if (self._folder / "die").exists():
            raise SystemExit("a scripted end")
        return super().label_frames(windows)


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    watchdog._PATIENCE_S = float(sys.argv[2])
    server.end_process(server.main(lambda settings, progress: ModelOfFiles(folder)))
