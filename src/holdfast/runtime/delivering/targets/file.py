"""A target that is a folder: each delivery becomes a folder in it, named by its id, all at once.

    results/d-1f0c.../result.json
    results/d-1f0c.../attachments/report.csv

What is half-written lies under another name, so a reader finds a delivery whole or not at all, and one that is
delivered again is there already.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path
from typing import final

import msgspec

from holdfast.errors import DeliveryRefused, NotDelivered
from holdfast.runtime.delivering.port import Delivery, Promise, Target
from holdfast.runtime.delivering.targets.describing import described

__all__ = ("FileTarget",)


@final
class FileTarget(Target):
    """Writes results into a folder, which is made when there is none."""

    def __init__(self, folder: str | Path) -> None:
        self._folder = Path(folder)

    @property
    def promise(self) -> Promise:
        """What has an id that is there already is not written again."""
        return "keyed"

    @property
    def settles(self) -> float:
        """Nothing is on its way when the process is gone."""
        return 0.0

    async def deliver(self, delivery: Delivery) -> None:
        """Returns when the delivery lies in the folder, and would after a power cut.

        Raises:
            NotDelivered: the folder cannot be written at the moment.
            DeliveryRefused: its attachments are not kept any more.
        """
        place = self._folder / delivery.id
        if await asyncio.to_thread(place.is_dir):
            return
        half = self._folder / f".{delivery.id}.half"
        try:
            await asyncio.to_thread(_begin, half)
            for file in delivery.attachments:  # one after another: they may be large
                await asyncio.to_thread(_write, half / "attachments" / file.name, await file.read())
            text = msgspec.json.format(msgspec.json.encode(described(delivery)))
            await asyncio.to_thread(_write, half / "result.json", text)
            await asyncio.to_thread(_finish, half, place)
        except KeyError as error:
            raise DeliveryRefused(f"an attachment is not kept any more: {error}") from error
        except OSError as error:
            raise NotDelivered(f"the folder {str(self._folder)!r} cannot be written: {error}") from error

    async def delivered(self, id: str) -> bool:
        """Returns whether it lies in the folder."""
        return await asyncio.to_thread((self._folder / id).is_dir)

    async def close(self) -> None:
        """Does nothing: no file is open."""


def _begin(half: Path) -> None:
    if half.is_dir():
        shutil.rmtree(half)  # a process died there
    (half / "attachments").mkdir(parents=True)


def _write(path: Path, data: bytes) -> None:
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _finish(half: Path, place: Path) -> None:
    attachments = half / "attachments"
    if not any(attachments.iterdir()):
        attachments.rmdir()
    else:
        _sync_folder(attachments)
    _sync_folder(half)
    try:
        half.rename(place)
    except OSError:
        if not place.is_dir():
            raise
        shutil.rmtree(half)  # somebody whose lease ran out was quicker: the same lies there
    _sync_folder(place.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
