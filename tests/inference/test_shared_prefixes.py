"""Shared prefixes as administrators keep them: what can be one, the pages, the audit log."""

import json
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.test import Client
from django.urls import reverse

from accounts.models import AuditEvent, User
from accounts.services import do_create_user
from inference.models import Deployment, Engine, Model, SharedPrefix
from inference.registry import read_models
from inference.services import do_change_shared_prefix, do_delete_shared_prefix, do_record_engine, do_share_prefix

TEXT = "You are the assistant of the whole house. Be brief and kind.\nAnswer what is asked, and nothing else."


@pytest.fixture
def model(db: None) -> Model:
    return Model.objects.create(name="m", source="builtin:m")


@pytest.fixture
def root(db: None) -> User:
    return do_create_user("root", password=None, is_admin=True, acting_user=None)


@pytest.fixture
def boss(root: User, client: Client) -> Client:
    client.force_login(root)
    return client


def page(view: str, *args: Any, of: str = "sharedprefix") -> str:
    return reverse(f"admin:inference_{of}_{view}", args=args)


def test_the_registry_has_them(model: Model):
    Deployment.objects.create(model=model, host="here")
    made = do_share_prefix(model, TEXT, name="house", is_pinned=True, acting_user=None)
    [served] = read_models()
    assert [(each.text, each.pinned) for each in served.shared] == [(TEXT, True)]
    assert TEXT[:20] not in repr(served)
    do_change_shared_prefix(made, is_pinned=False, acting_user=None)
    assert [each.pinned for each in read_models()[0].shared] == [False]
    do_delete_shared_prefix(made, acting_user=None)
    assert read_models()[0].shared == ()


def test_the_audit_log_has_no_text(model: Model, root: User):
    made = do_share_prefix(model, TEXT, name="house", acting_user=root)
    do_change_shared_prefix(made, text=f"{TEXT} More.", acting_user=root)
    do_delete_shared_prefix(SharedPrefix.objects.get(), acting_user=root)
    events = list(AuditEvent.objects.filter(actor=root).order_by("pk"))
    assert [event.action for event in events] == [
        "shared_prefix.added", "shared_prefix.changed", "shared_prefix.deleted",
    ]  # fmt: skip
    assert events[1].before["sha256"] != events[1].after["sha256"]
    assert (events[1].before["characters"], events[1].after["characters"]) == (len(TEXT), len(TEXT) + 6)
    assert "assistant" not in json.dumps([[event.before, event.after, event.target_label] for event in events])


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"text": ""}, "text"),
        ({"text": "Be kind."}, "text"),
        ({"text": "x" * (SharedPrefix.LONGEST + 1)}, "text"),
        ({"text": TEXT + "\x00"}, "text"),
        ({"name": ""}, "name"),
        ({"name": "a\x00"}, "name"),
        ({"name": "x" * 101}, "name"),
    ],
)
def test_what_can_not_be_one(model: Model, boss: Client, fields: dict[str, Any], name: str):
    given = {"text": TEXT, "name": "house", **fields}
    with pytest.raises(ValidationError) as refused:
        do_share_prefix(model, **given, acting_user=None)
    assert name in refused.value.message_dict
    answer = boss.post(page("add"), {**given, "model": model.pk})
    assert name in answer.context["adminform"].form.errors
    assert not SharedPrefix.objects.exists()


def test_one_text_once_and_not_too_many(model: Model, monkeypatch: pytest.MonkeyPatch):
    do_share_prefix(model, TEXT, name="house", acting_user=None)
    with pytest.raises(ValidationError, match="already"):
        do_share_prefix(model, TEXT, name="again", acting_user=None)
    do_share_prefix(Model.objects.create(name="n", source="n"), TEXT, name="house", acting_user=None)
    # A lower bound, so that one more is too many.
    monkeypatch.setattr(SharedPrefix, "MOST", 1)
    with pytest.raises(ValidationError, match="up to 1"):
        do_share_prefix(model, TEXT + " More.", name="more", acting_user=None)


def test_a_browser_writes_lines_otherwise_than_programs(model: Model, boss: Client, root: User):
    typed = "  " + TEXT.replace("\n", "\r\n") + "\r\n"
    answer = boss.post(page("add"), {"name": "<b>house</b>", "model": model.pk, "text": typed})
    assert answer.status_code == 302
    made = SharedPrefix.objects.get()
    assert made.text == "  " + TEXT
    assert AuditEvent.objects.filter(actor=root, action="shared_prefix.added").count() == 1
    listed = boss.get(page("changelist")).content.decode()
    assert "&lt;b&gt;house&lt;/b&gt;" in listed and "<b>house" not in listed
    # Opened and saved as it is, it has not changed.
    context = boss.get(page("change", made.pk)).context
    data = {"name": made.name, "text": made.text.replace("\n", "\r\n"), "_seen": context["seen"]}
    assert boss.post(page("change", made.pk), data).status_code == 302
    assert SharedPrefix.objects.get().text == made.text
    assert not AuditEvent.objects.filter(action="shared_prefix.changed").exists()


def test_two_who_edit_one(model: Model, boss: Client):
    made = do_share_prefix(model, TEXT, name="house", acting_user=None)
    data = {"name": "home", "text": TEXT, "_seen": boss.get(page("change", made.pk)).context["seen"]}
    do_change_shared_prefix(made, text=f"{TEXT} More.", acting_user=None)
    answer = boss.post(page("change", made.pk), data)
    assert "has changed this" in str(answer.context["adminform"].form.non_field_errors())
    assert SharedPrefix.objects.get().text.endswith("More.")


def test_models_are_read_at_a_glance(model: Model, boss: Client):
    Model.objects.create(name="<i>", source="x", aliases=["<b>"], engine_options={"max_num_seqs": 4})
    listed = boss.get(page("changelist", of="model")).content.decode()
    assert listed.count("not served") == 2 and "max_num_seqs 4" in listed
    assert "&lt;i&gt;" in listed and "<i>" not in listed and "<b>" not in listed
    deployment = Deployment.objects.create(model=model, host="here")
    Deployment.objects.create(model=model, host="there")
    do_record_engine(deployment, state=Engine.State.READY, context_length=4096, kind="text")
    for url in (page("changelist", of="model"), page("change", model.pk, of="model")):
        said = boss.get(url).content.decode()
        assert "ready" in said and "4,096 tokens" in said
    assert boss.post(page("change", model.pk, of="model"), {"name": "x"}).status_code == 403
