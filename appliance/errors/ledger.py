"""What keeps the ledger from remembering, or being believed."""

from appliance.errors.base import EX_CONFIG, ApplianceError


class LedgerError(ApplianceError):
    """The ledger cannot be written, or is not what it was."""


class LedgerUnavailable(LedgerError):
    """The store did not make an entry durable in time; nothing was signed for it."""

    code = "ledger_unavailable"


class LedgerContended(LedgerError):
    """Another process writes the log of this origin."""

    code = "ledger_contended"


class LedgerUnusable(LedgerError):
    """The database is not one of ours, is newer than this program, or holds a log that was closed for good."""

    code = "ledger_unusable"
    exit_status = EX_CONFIG


class LedgerBackupExists(LedgerError):
    """A backup was to be written into a file that is there; it stays as it is."""

    code = "ledger_backup_exists"


class LedgerDamaged(LedgerError):
    """What the store holds does not agree with itself, or with a checkpoint that was signed over it."""

    code = "ledger_damaged"


class LedgerRolledBack(LedgerError):
    """The log is older than a checkpoint of it that is known elsewhere: to write on would fork it."""

    code = "ledger_rolled_back"
    exit_status = EX_CONFIG


class LedgerNotCopied(LedgerError):
    """No copy of a checkpoint has left the machine for longer than is allowed."""

    code = "ledger_not_copied"


class LedgerProofInvalid(LedgerError):
    """A note, checkpoint, proof, key or tile is malformed, or not what its key has signed."""

    code = "ledger_proof_invalid"


class LedgerEntryAbsent(LedgerError):
    """The log has no such entry, not yet under a checkpoint, or no longer."""

    code = "ledger_entry_absent"
