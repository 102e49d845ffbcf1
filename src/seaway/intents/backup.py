"""The whole state, for who keeps it elsewhere."""

from __future__ import annotations

from seaway import backups
from seaway.intents.desk import Desk
from seaway.model.backup import Backup


class BackupIntents(Desk):
    async def backup(self) -> Backup:
        """Every record at one moment; what is decided just now is in it whole, or not at all."""
        snapshot = await self.records.snapshot()
        return backups.take(snapshot, self.surroundings.whereabouts(), self.host.name)
