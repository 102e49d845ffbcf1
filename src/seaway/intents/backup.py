"""The whole state, for who keeps it elsewhere."""

from __future__ import annotations

from seaway import backups
from seaway.intents.desk import Desk
from seaway.model.backup import Backup


class BackupIntents(Desk):
    async def backup(self) -> Backup:
        """Every record at one moment; what is decided just now is in it whole, or not at all. Of a
        control host the CA's key, too.
        """
        snapshot = await self.records.snapshot()
        whereabouts = self.surroundings.whereabouts()
        return backups.take(snapshot, whereabouts, self.host.name, self.trust.folder.trust())
