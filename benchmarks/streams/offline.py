"""Transcribe a whole recording as the server transcribes an uploaded file.

It has the same windows, stitching and words, without the server.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

from audio.samples import SAMPLE_RATE, Samples
from audio_chunker import AudioChunker
from benchmarks.corpus.composer import SpokenWord
from benchmarks.corpus.suites import Stream, Utterance
from engine.interface import ModelInput, Normalisation
from recordings.segments import SegmentReader
from text.ctc import FrameLabels, Vocabulary
from text.transcript import Segment, join
from text.word_times import SpikeOffsets
from vad.silero import SileroVad, VadStream

Label = Callable[[Sequence[ModelInput]], Sequence[FrameLabels]]

# Silence of a clip before its first word and after its last.
AROUND = round(0.3 * SAMPLE_RATE)


class Offline:
    """A model that hears whole recordings."""

    def __init__(
        self,
        label: Label,
        vocabulary: Vocabulary,
        offsets: SpikeOffsets,
        vad: SileroVad,
    ) -> None:
        self._label = label
        self._vocabulary = vocabulary
        self._offsets = offsets
        self._vad = vad

    def segments(
        self, samples: Samples, normalisation: Normalisation | None = None
    ) -> tuple[Segment, ...]:
        """Transcribe a recording of any length.

        Args:
            normalisation: None to normalise each window over its own samples, as
                everywhere.
        """
        ear = VadStream(self._vad)
        chunker = AudioChunker(vad_enabled=True)
        reader = SegmentReader(self._vocabulary, self._offsets)
        windows = [*chunker.push_audio(samples, ear.push_audio(samples))]
        windows += chunker.finish(ear.finish())
        inputs = [ModelInput(w.samples, normalisation=normalisation) for w in windows]
        return join(
            part
            for window, heard in zip(windows, inputs, strict=True)
            for part in reader.add_window(window, self._label([heard])[0])
        )

    def words(self, stream: Stream) -> tuple[tuple[str, ...], ...]:
        """Hear each utterance of a stream as a recording of its own."""
        heard = []
        for one in stream.utterances:
            clip = stream.samples[max(0, one.start - AROUND) : one.end + AROUND]
            words = [word for own in self.segments(clip) for word in own.words]
            heard.append(tuple(word.text for word in words))
        return tuple(heard)

    def as_reference(self, stream: Stream) -> Stream:
        """Take the text of the whole recording as its reference."""
        utterances = tuple(
            Utterance(
                tuple(
                    SpokenWord(word.text, word.start, word.end)
                    for word in segment.words
                )
            )
            for segment in self.segments(stream.samples)
        )
        return replace(stream, utterances=utterances)
