class BackupError(Exception):
    """Why a backup can't be made or restored, in words for its operator; nothing was changed."""
