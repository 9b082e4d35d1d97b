import pytest

from accounts import audit
from accounts.models import AuditEvent, User


def test_it_says_who_did_what_to_whom(root: User, owner: User):
    event = audit.record("user.praised", owner, acting_user=root, before={"mood": 1}, after={"mood": 2})
    event.refresh_from_db()
    assert (event.actor, event.actor_name, event.action) == (root, "root", "user.praised")
    assert (event.target_type, event.target_id, event.target_label) == ("user", str(owner.pk), "olga")
    assert (event.before, event.after) == ({"mood": 1}, {"mood": 2})


def test_the_actor_s_name_outlives_the_actor(root: User, owner: User):
    audit.record("user.praised", owner, acting_user=root)
    root.delete()
    event = AuditEvent.objects.get(action="user.praised")
    assert (event.actor, event.actor_name) == (None, "root")


@pytest.mark.parametrize("field", ["password", "digest", "key", "raw"])
def test_it_takes_no_secrets(owner: User, field: str):
    with pytest.raises(ValueError, match=field):
        audit.record("user.leaked", owner, acting_user=None, after={field: "hush"})
    assert not AuditEvent.objects.filter(action="user.leaked").exists()
