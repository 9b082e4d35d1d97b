"""People: users, teams, keys, the usage ledger, the audit log and events. Imports neither inference nor platform."""
