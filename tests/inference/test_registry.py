"""Which models are served, and by which names."""

import asyncio
from dataclasses import replace

import pytest
from asgiref.sync import sync_to_async

from accounts.events import Hub
from inference.models import Deployment, Engine, Model
from inference.registry import Registry, names_of, read_models
from inference.services import do_deploy_models, do_record_engine
from inference.sources import Source
from inference.supervisor import engine_argv

ONE = Source("one", "/models/one", ("./one", "/models/one"))
TWO = Source("org/two", "org/two")


@pytest.mark.django_db
def test_deploying_is_a_wish_for_exactly_these():
    do_deploy_models([ONE, TWO], host="studio")
    do_deploy_models([ONE], host="other")
    do_deploy_models([TWO], host="studio")
    wished = Deployment.objects.values_list("host", "model__name")
    assert sorted(wished) == [("other", "one"), ("studio", "org/two")]
    assert Model.objects.count() == 2, "a model that is not served now is still known"


@pytest.mark.django_db
def test_the_order_of_the_command_is_kept_and_the_first_is_the_default():
    do_deploy_models([ONE, TWO], host="studio")
    do_deploy_models([TWO, ONE], host="studio")
    models = read_models()
    assert [model.name for model in models] == ["org/two", "one"]
    names = names_of(models)
    assert names["default"].name == "org/two"
    assert names["./one"] is names["/models/one"] is names["one"]


@pytest.mark.django_db
def test_two_models_of_one_name_are_refused():
    with pytest.raises(ValueError, match="both be called one"):
        do_deploy_models([ONE, Source("one", "/elsewhere/one")], host="studio")
    assert not Deployment.objects.exists()


@pytest.mark.django_db
def test_a_model_is_for_what_the_command_says_and_else_for_what_its_engine_found():
    [deployment] = do_deploy_models([replace(ONE, kind="embedding")], host="studio")
    assert read_models()[0].kind == "embedding"
    assert engine_argv(deployment, "ipc:///x")[-2:] == ["--kind", "embedding"]
    [deployment] = do_deploy_models([ONE], host="studio")
    assert read_models()[0].kind is None and "--kind" not in engine_argv(deployment, "ipc:///x")
    do_record_engine(deployment, state=Engine.State.READY, kind="reranker")
    assert read_models()[0].kind == "reranker"
    with pytest.raises(ValueError, match="one is named twice"):
        do_deploy_models([ONE, replace(ONE, kind="embedding")], host="studio")


@pytest.mark.django_db
def test_a_folder_that_moved_is_the_same_model():
    do_deploy_models([ONE], host="studio")
    do_deploy_models([Source("one", "/moved/one")], host="studio")
    assert Model.objects.get().source == "/moved/one"


@pytest.mark.django_db
def test_a_models_own_name_wins_over_anothers_alias():
    do_deploy_models([Source("a", "/x/a", ("b",)), Source("b", "/x/b")], host="studio")
    assert names_of(read_models())["b"].source == "/x/b"


@pytest.mark.django_db
def test_what_the_supervisor_saw():
    (deployment,) = do_deploy_models([ONE], host="studio")
    (model,) = read_models()
    assert (model.state, model.context_length, model.batching, model.batching_reason) == ("starting", None, None, None)
    observed = {"state": Engine.State.READY, "pid": 1, "context_length": 2048}
    do_record_engine(deployment, **observed, batching="padded", batching_reason="long rows slow short ones down")
    (model,) = read_models()
    assert (model.state, model.context_length) == ("ready", 2048)
    assert (model.batching, model.batching_reason) == ("padded", "long rows slow short ones down")
    assert model.endpoint == deployment.engine.endpoint


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("stored", "seconds"), [({}, None), ({"timeout": 900}, 900), ({"kv_bits": 8}, None), ({"timeout": "soon"}, None)]
)
def test_a_models_own_time_limit(stored, seconds):
    do_deploy_models([ONE], host="studio")
    Model.objects.update(engine_options=stored)
    assert read_models()[0].timeout == seconds


@pytest.mark.django_db(transaction=True)
async def test_a_change_reaches_the_registry_by_event(settings, tmp_path_factory):
    settings.SOCKET_DIR = tmp_path_factory.mktemp("run")
    with Hub():
        registry = Registry()
        watching = asyncio.create_task(registry.watch())
        assert await registry.resolve("one") is None
        await asyncio.sleep(0.3)
        await sync_to_async(do_deploy_models)([ONE], host="studio")
        async with asyncio.timeout(3):
            while await registry.resolve("one") is None:
                await asyncio.sleep(0.02)
        watching.cancel()
