"""Everything that an installation is, in one file: `archive` is that file, `databases` how a database gets into it and
out of it, `verbs` who does it all. What it does not hold: models, settings, and what is only a memory of the database
(counters in Redis, the prefix caches)."""
