"""The management API under `/api/`: people, keys, quotas and the audit log for programs and for pages.

Views ask `accounts.permissions` and hand what they are told to the verbs; serializers only read and write JSON. What
somebody may not know exists is a 404, the same as what does not exist. docs/management-api.md describes it.
"""
