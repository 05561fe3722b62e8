"""Frames into a video that browsers play: H.264 in MP4, encoded by the ffmpeg that imageio-ffmpeg brings along.

The same frames give the same bytes with the same ffmpeg.
"""

import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tercih.environments.control import MISSING, ControlError


class Video:
    """`add` frames of one size as they come, then `close` for the file's bytes, or `drop` it."""

    def __init__(self, rate: float) -> None:
        if not 0 < rate <= 1000:
            raise ControlError(f"a video has more than 0 and at most 1000 frames a second, got {rate}")
        try:
            from imageio_ffmpeg import get_ffmpeg_exe
        except ModuleNotFoundError:
            raise ControlError(MISSING) from None
        try:
            self.program = get_ffmpeg_exe()
        except RuntimeError:
            raise ControlError(f"there is no ffmpeg here; {MISSING}") from None
        self.rate = rate
        self.frames = 0
        self.shape: tuple[int, ...] = ()
        self.folder = tempfile.TemporaryDirectory(prefix="tercih-video-")
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115  # it lives as long as the encoder
        self.encoder: subprocess.Popen[bytes] | None = None

    def add(self, frame: NDArray[np.uint8]) -> None:
        """One more; an odd height or width loses its last line, for H.264 halves them."""
        whole = frame[: frame.shape[0] // 2 * 2, : frame.shape[1] // 2 * 2]
        if self.encoder is None:
            if not whole.size:
                raise ControlError(f"a frame of {frame.shape[1]}×{frame.shape[0]} cannot be shown")
            self.shape = whole.shape
            self.encoder = self._start()
        if whole.shape != self.shape:
            raise ControlError(f"a frame of {whole.shape[:2]} cannot follow frames of {self.shape[:2]}")
        assert self.encoder.stdin
        try:
            self.encoder.stdin.write(np.ascontiguousarray(whole).tobytes())
        except OSError:
            raise ControlError(f"the video could not be encoded: {self._said()}") from None
        self.frames += 1

    def close(self) -> bytes:
        """The whole video. Raises ControlError where there were no frames, or the encoder failed."""
        try:
            if self.encoder is None:
                raise ControlError("there are no frames to make a video of")
            self.encoder.communicate()
            if self.encoder.returncode != 0:
                raise ControlError(f"the video could not be encoded: {self._said()}")
            return self._file().read_bytes()
        finally:
            self.drop()

    def drop(self) -> None:
        """Leave nothing behind; after `close` there is nothing to leave."""
        if self.encoder is not None:
            self.encoder.kill()
            self.encoder.wait()
            assert self.encoder.stdin
            with suppress(BrokenPipeError):  # what it had not taken yet
                self.encoder.stdin.close()
            self.encoder = None
        self.errors.close()
        self.folder.cleanup()

    def _start(self) -> "subprocess.Popen[bytes]":
        height, width = self.shape[:2]
        came = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", f"{self.rate:g}", "-i", "-"]
        goes = ["-an", "-c:v", "libx264", "-preset", "veryfast", "-crf", "20", "-pix_fmt", "yuv420p"]
        same = ["-threads", "1", "-map_metadata", "-1", "-fflags", "+bitexact", "-flags:v", "+bitexact"]
        return subprocess.Popen(
            [self.program, "-loglevel", "error", *came, *goes, *same, "-movflags", "+faststart", str(self._file())],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=self.errors,
        )  # fmt: skip

    def _file(self) -> Path:
        return Path(self.folder.name) / "video.mp4"

    def _said(self) -> str:
        self.errors.seek(0)
        lines = self.errors.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else "the encoder ended"
