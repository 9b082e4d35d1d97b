"""A pytest plugin that comes before Django's: the settings of the tests' own process.

Settings are read once, at import, so the data folder and the database are chosen here. With
ATELIER_TEST_DATABASE=postgresql the ORM's tests run on a private PostgreSQL instead of SQLite.
"""

import atexit
import os
import shutil
import tempfile

from tests.support.services import postgresql_server

folder = tempfile.mkdtemp(prefix="atelier-tests-")
atexit.register(shutil.rmtree, folder, ignore_errors=True)
for name in [name for name in os.environ if name.startswith("ATELIER_") and not name.startswith("ATELIER_TEST_")]:
    del os.environ[name]
os.environ["ATELIER_DATA_DIR"] = folder
os.environ.pop("DATABASE_URL", None)

if os.environ.get("ATELIER_TEST_DATABASE") == "postgresql":
    server = postgresql_server()
    os.environ["DATABASE_URL"] = server.__enter__()
    atexit.register(server.__exit__, None, None, None)
